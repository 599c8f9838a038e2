/** The first page: the address, and nothing else. */

import { register } from "../api";
import { element, fill, heading, link } from "../elements";
import { form } from "../form";
import { texts } from "../language";
import { go, type View } from "../router";

export function address(): View {
  const words = texts();
  return {
    title: words.createYourAccount,
    step: 0,
    content: [
      heading(words.createYourAccount),
      element("p", { class: "lead" }, words.createLead),
      addressForm(words.next),
      element("p", { class: "hint" }, ...fill(words.haveAccount, { logIn: link(words.logIn, "/log-in/") })),
    ],
  };
}

/** The form that asks for a mail; it leads to the page for the code. */
export function addressForm(button: string): HTMLFormElement {
  return form({
    fields: [{ name: "email", label: texts().email, type: "email", autocomplete: "email" }],
    button,
    busy: texts().sendingMail,
    send: (values) => register(values("email")),
    onSuccess: (values) => go("/code/", { address: values("email") }),
  });
}
