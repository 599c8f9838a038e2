/** Whoever is logged in sees their account. */

import * as api from "../api";
import type { Account, Refusal } from "../api";
import { badge, element, heading, paragraph } from "../elements";
import { show, type View } from "../router";
import { currentToken, forgetToken } from "../session";
import { askForPassword } from "./log-in";

export function account(): View {
  const token = currentToken();
  return token ? load(token) : askForPassword("Log in to see your account.");
}

function load(token: string): View {
  const title = heading("Loading your account…");
  void api.me(token).then((answer) => {
    if (!title.isConnected) return; // the user has gone on
    if (answer.ok) show(known(answer.body));
    else if (answer.code === "token-invalid") logOut(answer.detail);
    else show(unknown(token, answer));
  });
  return { title: "Loading your account", content: [title, paragraph("This takes a second.")] };
}

function known({ username, email }: Account): View {
  const button = element("button", { type: "button" }, "Log out");
  button.addEventListener("click", () => logOut("You are logged out."));
  return {
    title: "Your account",
    content: [
      heading("Your account"),
      element(
        "dl",
        { class: "account" },
        element("dt", {}, "User name"),
        element("dd", {}, username),
        element("dt", {}, "E-mail address"),
        element("dd", {}, email),
      ),
      button,
    ],
  };
}

/** Forget the token. There is nothing to tell the server, which keeps no list of tokens. */
function logOut(reason: string): void {
  forgetToken();
  show(askForPassword(reason));
}

function unknown(token: string, { detail }: Refusal): View {
  const again = element("button", { type: "button" }, "Try again");
  again.addEventListener("click", () => show(load(token)));
  return {
    title: "Your account could not be loaded",
    content: [badge("bad"), heading("Your account could not be loaded"), paragraph(detail), again],
  };
}
