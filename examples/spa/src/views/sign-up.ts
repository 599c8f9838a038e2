/** Signing up, and the page after it that tells to look into the mailbox. */

import { API, register } from "../api";
import { badge, element, heading, linkButton, paragraph } from "../elements";
import { form } from "../form";
import { go, type View } from "../router";
import { sendAgain } from "../send-again";

export function signUp(): View {
  return {
    title: "Create your account",
    step: 0,
    content: [
      heading("Create your account"),
      element("p", { class: "lead" }, "Letters to people far away. We mail you a link to confirm your address."),
      form({
        fields: [
          { name: "email", label: "E-mail address", type: "email", autocomplete: "email" },
          { name: "username", label: "User name", type: "text", autocomplete: "username" },
          {
            name: "password",
            label: "Password",
            type: "password",
            autocomplete: "new-password",
            hint: "At least 8 characters, and hard to guess.",
          },
          { name: "password_confirm", label: "Repeat the password", type: "password", autocomplete: "new-password" },
        ],
        button: "Create account",
        busy: "Creating your account…",
        send: (values) =>
          register({
            email: values.get("email") ?? "",
            username: values.get("username") ?? "",
            password: values.get("password") ?? "",
            password_confirm: values.get("password_confirm") ?? "",
          }),
        onSuccess: (values) => go("/mail-sent/", { address: values.get("email") }),
      }),
    ],
  };
}

export function mailSent(): View {
  const { address } = (history.state as { address?: string } | null) ?? {};
  return {
    title: "Look into your mailbox",
    step: 1,
    content: [
      badge("mail"),
      heading("Look into your mailbox"),
      paragraph(
        "We sent a link to ",
        address ? element("strong", {}, address) : "your address",
        ". Open it to confirm that the address is yours.",
      ),
      linkButton("Open the mailbox", `${API}/mailbox/`),
      element("h2", {}, "Nothing there?"),
      element("p", { class: "hint" }, "It may take a minute, and it may lie among the spam."),
      sendAgain({ button: "Send it again", kind: "quiet", ...(address ? { address } : {}) }),
      element("p", { class: "hint" }, "Is the address wrong? ", element("a", { href: "/" }, "Sign up with another one"), "."),
    ],
  };
}
