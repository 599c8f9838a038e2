// Signs up with an address, then with a link and with a code, with the types that openapi-typescript makes.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Link = components["schemas"]["RegistrationLink"];

const server = process.argv[2] ?? "";
const client = createClient<paths>({ baseUrl: server });
const password = "violet-anchor-47-tundra";

async function mailTo(email: string): Promise<{ link: Link; code: string }> {
  const asked = await client.POST("/api/v1/accounts/register/", { body: { email } });
  assert.equal(asked.response.status, 202);
  assert(asked.data?.detail);
  return (await (await fetch(`${server}/last-mail`)).json()) as { link: Link; code: string };
}

const ada = { username: "ada", password, password_confirm: password };
const { link } = await mailTo("ada@example.com");
const checked = await client.POST("/api/v1/accounts/check-link/", { body: link });
const email: string | undefined = checked.data?.email;
assert.equal(email, "ada@example.com");
const byLink = await client.POST("/api/v1/accounts/verify-registration/", { body: { ...link, ...ada } });
assert.equal(byLink.response.status, 201);
assert(byLink.data && "id" in byLink.data);
const id: number = byLink.data.id;
assert.deepEqual(byLink.data, { id, email, username: "ada" });

const bob = { username: "bob", password, password_confirm: password };
const { code } = await mailTo("bob@example.com");
const wrong = { email: "bob@example.com", code: code === "000000" ? "000001" : "000000", ...bob };
const refused = await client.POST("/api/v1/accounts/verify-registration/", { body: wrong });
assert(refused.error?.code === "code-invalid");
const byCode = await client.POST("/api/v1/accounts/verify-registration/", { body: { ...wrong, code } });
assert.equal(byCode.response.status, 201);

// @ts-expect-error  a code without the fields of an account is no body
const alone = await client.POST("/api/v1/accounts/verify-registration/", { body: { email: "bob@example.com", code } });
assert(alone.error?.code === "invalid");
