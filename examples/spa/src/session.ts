/**
 * The token that says who is logged in, in `sessionStorage`.
 *
 * No other site can use it: the browser sends it to nobody by itself, as it does with a cookie, so that requests need no
 * CSRF token. It survives a reload and ends with the tab; `localStorage` would leave it on a shared computer. A script
 * that gets into these pages can read it. What stands against that: text is never markup (`elements.ts`), the
 * Content-Security-Policy runs no script from elsewhere, and the token works for an hour only. A cookie with `HttpOnly`
 * cannot be read by a script, and suits front ends on the API's own site better.
 */

const KEY = "token";

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

export function currentToken(): string | null {
  return sessionStorage.getItem(KEY);
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
}
