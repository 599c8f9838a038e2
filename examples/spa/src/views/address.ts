/** The first page: the address, and nothing else. */

import { register } from "../api";
import { element, heading } from "../elements";
import { form } from "../form";
import { go, type View } from "../router";

export function address(): View {
  return {
    title: "Create your account",
    step: 0,
    content: [
      heading("Create your account"),
      element("p", { class: "lead" }, "Letters to people far away. First we send a mail to your address."),
      addressForm("Continue"),
      element("p", { class: "hint" }, "Do you have an account? ", element("a", { href: "/log-in/" }, "Log in")),
    ],
  };
}

/** The form that asks for a mail; it leads to the page for the code. */
export function addressForm(button: string): HTMLFormElement {
  return form({
    fields: [{ name: "email", label: "E-mail address", type: "email", autocomplete: "email" }],
    button,
    busy: "Sending the mail…",
    send: (values) => register(values("email")),
    onSuccess: (values) => go("/code/", { address: values("email") }),
  });
}
