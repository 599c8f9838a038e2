// Signs up and verifies with the types that openapi-typescript makes, where the account is made at sign-up.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Link = components["schemas"]["RegistrationLink"];

const server = process.argv[2] ?? "";
const client = createClient<paths>({ baseUrl: server });

async function mailedLink(): Promise<Link> {
  const mailed = (await (await fetch(`${server}/last-mail`)).json()) as { link: Link };
  return mailed.link;
}

const password = "violet-anchor-47-tundra";
const account = { email: "ada@example.com", username: "ada", password, password_confirm: password };

const weak = await client.POST("/api/v1/accounts/register/", { body: { ...account, password: "short" } });
assert.equal(weak.response.status, 400);
assert(weak.error?.code === "invalid");
assert((weak.error.errors?.["password"]?.length ?? 0) > 0);

// @ts-expect-error  a field that is needed
const incomplete = await client.POST("/api/v1/accounts/register/", { body: { email: account.email } });
// @ts-expect-error  no code of this endpoint
assert(incomplete.error?.code !== "signature-invalid");

const stored = await client.POST("/api/v1/accounts/register/", { body: account });
const id: number | undefined = stored.data?.id;
assert.deepEqual(stored.data, { id, email: "ada@example.com", username: "ada" });

const link = await mailedLink();
const forged = await client.POST("/api/v1/accounts/verify-registration/", { body: { ...link, signature: "forged" } });
assert(forged.error?.code === "signature-invalid");

const verified = await client.POST("/api/v1/accounts/verify-registration/", { body: link });
assert.equal(verified.response.status, 200);
assert(verified.data?.detail);

const again = await client.POST("/api/v1/accounts/resend-verification/", { body: { email: account.email } });
assert.equal(again.response.status, 202);
assert(again.data?.detail);
