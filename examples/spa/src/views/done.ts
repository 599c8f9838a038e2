/** The last page. */

import { badge, heading, paragraph } from "../elements";
import { pageState, type View } from "../router";
import { address } from "./address";

export function done(): View {
  if (!pageState().done) return address();
  return {
    title: "Your account is ready",
    step: 3,
    content: [
      badge("good"),
      heading("Your account is ready"),
      paragraph("Welcome! Your address is confirmed, and you can log in with it."),
    ],
  };
}
