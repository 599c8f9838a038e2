/** The registration API, on another origin than these pages. */

import { fill } from "./elements";
import { inTime, language, texts } from "./language";

export const API = import.meta.env.VITE_API_URL;

const GIVE_UP_AFTER = 30_000; // milliseconds; the mail alone may take ten seconds

/** What went wrong: `code` is for programs, `detail` for people, `errors` belong to the fields of these names. */
export interface Refusal {
  readonly ok: false;
  readonly code: string;
  readonly detail: string;
  readonly errors: Readonly<Record<string, readonly string[]>>;
}

export interface Success<Body = unknown> {
  readonly ok: true;
  readonly body: Body;
}

export type Answer<Body = unknown> = Success<Body> | Refusal;

/** What an account is made of, besides the address that the person has proven. */
export interface NewAccount {
  readonly username: string;
  readonly password: string;
  readonly password_confirm: string;
}

/** Whom one is logged in as. */
export interface Account {
  readonly email: string;
  readonly username: string;
}

/** The three values of the link in the mail. */
export interface SignedLink {
  readonly user_id: string;
  readonly timestamp: string;
  readonly signature: string;
}

/** Ask for a mail with a code and a link. The answer is the same for a free address and for a taken one. */
export const register = (email: string): Promise<Answer> => post("accounts/register/", { email });

/** Ask which address a link was sent to. This changes nothing, so that it may happen when the page is loaded. */
export const checkLink = (link: SignedLink): Promise<Answer<{ readonly email: string }>> => post("accounts/check-link/", link);

/**
 * Make the account, with the proof that the mail was read: its code beside the address, or its link. The answer logs
 * in; where that failed it has no token, and the account is made all the same.
 */
export const verify = (
  proof: SignedLink | { email: string; code: string },
  account: NewAccount,
): Promise<Answer<{ readonly token?: string }>> => post("accounts/verify-registration/", { ...proof, ...account });

/** Log in. The refusal is the same for an unknown address and for a wrong password. */
export const logIn = (email: string, password: string): Promise<Answer<{ readonly token: string }>> =>
  post("log-in/", { email, password });

/** Ask whose token it is; `token-invalid` when it has expired or its account is gone. */
export const me = (token: string): Promise<Answer<Account>> =>
  send("me", { headers: { Authorization: `Bearer ${token}` } });

const post = <Body>(path: string, data: object): Promise<Answer<Body>> =>
  send(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(data),
  });

async function send<Body>(path: string, options: RequestInit & { headers: Record<string, string> }): Promise<Answer<Body>> {
  try {
    const response = await fetch(`${API}/api/v1/${path}`, {
      ...options,
      headers: { ...options.headers, Accept: "application/json", "Accept-Language": language() },
      credentials: "omit",
      signal: AbortSignal.timeout(GIVE_UP_AFTER),
    });
    return response.ok ? { ok: true, body: (await response.json()) as Body } : await refusal(response);
  } catch {
    return refused("unreachable", texts().unreachable);
  }
}

/** Read a refusal, which a proxy on the way may have written in a shape of its own. */
async function refusal(response: Response): Promise<Refusal> {
  if (response.status === 429) return refused("too-many-requests", tooMany(response.headers.get("Retry-After")));
  const body = (await response.json().catch(() => ({}))) as Partial<Refusal>;
  return refused(
    body.code ?? "",
    body.detail ?? fill(texts().status, { status: String(response.status) }).join(""),
    body.errors,
  );
}

function refused(code: string, detail: string, errors: Refusal["errors"] = {}): Refusal {
  return { ok: false, code, detail, errors };
}

/** `Retry-After` is a number of seconds or a date; another origin reads it only where CORS exposes it. */
function tooMany(retryAfter: string | null): string {
  const given = retryAfter ?? "";
  const seconds = /^\d+$/.test(given) ? Number(given) : Math.ceil((Date.parse(given) - Date.now()) / 1000);
  if (!(seconds > 0)) return texts().tooOften;
  const units = [["hour", 3600], ["minute", 60], ["second", 1]] as const;
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? units[2];
  return fill(texts().tooOftenUntil, { time: inTime(Math.ceil(seconds / length), unit) }).join("");
}
