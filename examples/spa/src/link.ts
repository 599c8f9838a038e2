/** The link in the mail: its values, and what this browser knows about it. */

import type { SignedLink } from "./api";

interface PageState {
  readonly link?: SignedLink;
  readonly done?: boolean;
}

/**
 * Take the link's values out of the address, where the browser's history would keep them and anyone could read them
 * off the screen. They stay with the page, so that it can be reloaded.
 */
export function takeLink(): SignedLink | null {
  if (location.search) {
    const query = new URLSearchParams(location.search);
    const [user_id, timestamp, signature] = ["user_id", "timestamp", "signature"].map((name) => query.get(name));
    const state: PageState = user_id && timestamp && signature ? { link: { user_id, timestamp, signature } } : {};
    history.replaceState(state, "", location.pathname);
  }
  return pageState().link ?? null;
}

/** Remember with the page that its link has done its work, and forget the link. */
export function markDone(): void {
  history.replaceState({ done: true } satisfies PageState, "", location.pathname);
}

export function isDone(): boolean {
  return pageState().done === true;
}

function pageState(): PageState {
  return (history.state as PageState | null) ?? {};
}
