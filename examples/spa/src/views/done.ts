/** The last page of signing up. */

import { badge, heading, linkButton, paragraph } from "../elements";
import { texts } from "../language";
import { pageState, replace, type View } from "../router";
import { keepToken } from "../session";
import { address } from "./address";

/** Go to the last page, and be logged in there, if the answer has a token. */
export function welcome(token: string | undefined): void {
  if (token) keepToken(token);
  replace("/done/", { done: true });
}

export function done(): View {
  if (!pageState().done) return address();
  const words = texts();
  return {
    title: words.ready,
    step: 3,
    content: [
      badge("good"),
      heading(words.ready),
      paragraph(words.readyText),
      linkButton(words.goToAccount, "/account/"),
    ],
  };
}
