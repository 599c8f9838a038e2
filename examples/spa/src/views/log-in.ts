/** Logging in with the address and the password. */

import * as api from "../api";
import { element, heading } from "../elements";
import { form } from "../form";
import { replace, type View } from "../router";
import { currentToken, keepToken } from "../session";
import { account } from "./account";

export function logIn(): View {
  return currentToken() ? account() : askForPassword();
}

/**
 * Ask for address and password.
 *
 * @param reason why one has to log in, if there is something to say.
 */
export function askForPassword(reason?: string): View {
  return {
    title: "Log in",
    content: [
      heading("Log in"),
      ...(reason ? [element("p", { class: "lead" }, reason)] : []),
      form({
        fields: [
          { name: "email", label: "E-mail address", type: "email", autocomplete: "username" },
          { name: "password", label: "Password", type: "password", autocomplete: "current-password" },
        ],
        button: "Log in",
        busy: "Logging in…",
        send: (values) => api.logIn(values("email"), values("password")),
        onSuccess: (_, { token }) => {
          keepToken(token);
          replace("/account/", {});
        },
      }),
      element("p", { class: "hint" }, "No account yet? ", element("a", { href: "/" }, "Sign up")),
    ],
  };
}
