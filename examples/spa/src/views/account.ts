/** Whoever is logged in sees their account. */

import * as api from "../api";
import type { Account, Refusal } from "../api";
import { badge, element, heading, paragraph } from "../elements";
import { texts } from "../language";
import { show, type View } from "../router";
import { currentToken, forgetToken } from "../session";
import { askForPassword } from "./log-in";

export function account(): View {
  const token = currentToken();
  return token ? load(token) : askForPassword(texts().logInFirst);
}

function load(token: string): View {
  const title = heading(texts().loadingAccount);
  void api.me(token).then((answer) => {
    if (!title.isConnected) return; // the user has gone on
    if (answer.ok) show(() => known(answer.body));
    else if (answer.code === "token-invalid") logOut("sessionEnded");
    else show(() => unknown(token, answer));
  });
  return { title: texts().loadingAccount, content: [title, paragraph(texts().takesASecond)] };
}

function known({ username, email }: Account): View {
  const words = texts();
  const button = element("button", { type: "button" }, words.logOut);
  button.addEventListener("click", () => logOut("loggedOut"));
  return {
    title: words.yourAccount,
    content: [
      heading(words.yourAccount),
      element(
        "dl",
        { class: "people" },
        element("dt", {}, words.username),
        element("dd", {}, element("bdi", {}, username)),
        element("dt", {}, words.email),
        element("dd", {}, element("bdi", {}, email)),
      ),
      button,
    ],
  };
}

/** Forget the token. There is nothing to tell the server, which keeps no list of tokens. */
function logOut(reason: "sessionEnded" | "loggedOut"): void {
  forgetToken();
  show(() => askForPassword(texts()[reason]));
}

function unknown(token: string, { detail }: Refusal): View {
  const words = texts();
  const again = element("button", { type: "button" }, words.tryAgain);
  again.addEventListener("click", () => show(() => load(token)));
  return {
    title: words.accountNotLoaded,
    content: [badge("bad"), heading(words.accountNotLoaded), paragraph(detail), again],
  };
}
