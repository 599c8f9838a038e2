import { badge, heading, linkButton, paragraph } from "../elements";
import type { View } from "../router";

export function notFound(): View {
  return {
    title: "Page not found",
    content: [
      badge("bad"),
      heading("There is no such page"),
      paragraph("The address may have a typing error."),
      linkButton("Sign up", "/"),
    ],
  };
}
