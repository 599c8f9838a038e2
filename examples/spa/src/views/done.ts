/** The last page of signing up. */

import { badge, heading, linkButton, paragraph } from "../elements";
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
  return {
    title: "Your account is ready",
    step: 3,
    content: [
      badge("good"),
      heading("Your account is ready"),
      paragraph("Welcome! Your address is confirmed. From now on you log in with it and your password."),
      linkButton("Go to your account", "/account/"),
    ],
  };
}
