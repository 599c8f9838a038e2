import { badge, heading, linkButton, paragraph } from "../elements";
import { texts } from "../language";
import type { View } from "../router";

export function notFound(): View {
  const words = texts();
  return {
    title: words.notFound,
    content: [
      badge("bad"),
      heading(words.notFound),
      paragraph(words.notFoundText),
      linkButton(words.signUp, "/"),
    ],
  };
}
