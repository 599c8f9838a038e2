/** The registration API, on another origin than these pages. */

export const API = import.meta.env.VITE_API_URL;

const ACCOUNTS = `${API}/api/v1/accounts`;
const GIVE_UP_AFTER = 30_000; // milliseconds; the mail alone may take ten seconds

/** What went wrong: `code` is for programs, `detail` for people, `errors` belong to the fields of these names. */
export interface Refusal {
  readonly ok: false;
  readonly code: string;
  readonly detail: string;
  readonly errors: Readonly<Record<string, readonly string[]>>;
}

export interface Success {
  readonly ok: true;
}

export type Answer = Success | Refusal;

export interface SignUp {
  readonly email: string;
  readonly username: string;
  readonly password: string;
  readonly password_confirm: string;
}

/** The three values of the links in the mail. */
export interface SignedLink {
  readonly user_id: string;
  readonly timestamp: string;
  readonly signature: string;
}

export const register = (data: SignUp): Promise<Answer> => post("register/", data);
export const verify = (link: SignedLink): Promise<Answer> => post("verify-registration/", link);
export const reject = (link: SignedLink): Promise<Answer> => post("reject-registration/", link);
export const resend = (email: string): Promise<Answer> => post("resend-verification/", { email });

async function post(path: string, data: object): Promise<Answer> {
  try {
    const response = await fetch(`${ACCOUNTS}/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(data),
      credentials: "omit",
      signal: AbortSignal.timeout(GIVE_UP_AFTER),
    });
    return response.ok ? { ok: true } : await refusal(response);
  } catch {
    return refused("unreachable", "The server cannot be reached. Check your connection, then try again.");
  }
}

/** Read a refusal, which a proxy on the way may have written in a shape of its own. */
async function refusal(response: Response): Promise<Refusal> {
  if (response.status === 429) return refused("too-many-requests", tooMany(response.headers.get("Retry-After")));
  const body = (await response.json().catch(() => ({}))) as Partial<Refusal>;
  return refused(
    body.code ?? "",
    body.detail ?? `The server answered with status ${response.status}. Please try again.`,
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
  if (!(seconds > 0)) return "That was too often. Please try again later.";
  const units = [["hour", 3600], ["minute", 60], ["second", 1]] as const;
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? units[2];
  const amount = Math.ceil(seconds / length);
  return `That was too often. Please try again in ${amount} ${unit}${amount === 1 ? "" : "s"}.`;
}
