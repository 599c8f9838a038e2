/** Logging in with the address and the password. */

import * as api from "../api";
import type { Answer } from "../api";
import { element, fill, heading, link } from "../elements";
import { form } from "../form";
import { texts } from "../language";
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
  const words = texts();
  return {
    title: words.logIn,
    content: [
      heading(words.logIn),
      ...(reason ? [element("p", { class: "lead" }, reason)] : []),
      form({
        fields: [
          { name: "email", label: words.email, type: "email", autocomplete: "username" },
          { name: "password", label: words.password, type: "password", autocomplete: "current-password" },
        ],
        button: words.logIn,
        busy: words.loggingIn,
        send: async (values) => inWords(await api.logIn(values("email"), values("password"))),
        onSuccess: (_, { token }) => {
          keepToken(token);
          replace("/account/", {});
        },
      }),
      element("p", { class: "hint" }, ...fill(words.noAccount, { signUp: link(words.signUp, "/") })),
    ],
  };
}

/** Give refusals the words of these pages: the log-in is the application's own, and answers in English alone. */
function inWords<Body>(answer: Answer<Body>): Answer<Body> {
  if (answer.ok) return answer;
  const words: Record<string, string> = {
    "log-in-refused": texts().wrongPassword,
    "not-verified": texts().notVerified,
  };
  return { ...answer, detail: words[answer.code] ?? answer.detail };
}
