/** The link in the mail. */

import type { SignedLink } from "./api";
import { pageState, remember } from "./router";

/**
 * Take the link's values out of the address, where the browser's history would keep them and anyone could read them
 * off the screen. They stay with the page, so that it can be reloaded. Whatever else a mail service appended to the
 * address is dropped.
 */
export function takeLink(): SignedLink | null {
  if (location.search) {
    const query = new URLSearchParams(location.search);
    const [user_id, timestamp, signature] = ["user_id", "timestamp", "signature"].map((name) => query.get(name));
    remember(user_id && timestamp && signature ? { link: { user_id, timestamp, signature } } : {});
  }
  return pageState().link ?? null;
}
