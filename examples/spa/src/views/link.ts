/** The page behind the link in the mail: for those who read it on another device, or find no code in it. */

import * as api from "../api";
import type { Refusal, SignedLink } from "../api";
import { ACCOUNT_FIELDS, newAccount, provenAddress } from "../account-fields";
import { badge, element, heading, linkButton, paragraph } from "../elements";
import { form } from "../form";
import { takeLink } from "../link";
import { show, type View } from "../router";
import { addressForm } from "./address";
import { welcome } from "./done";

export function link(): View {
  const values = takeLink();
  return values ? check(values) : incomplete();
}

/**
 * Ask for the address, which changes nothing. The account is made by a click, never by loading the page: the scanners
 * of mail servers open links and run the scripts behind them.
 */
function check(values: SignedLink): View {
  const title = heading("Checking the link…");
  void api.checkLink(values).then((answer) => {
    if (!title.isConnected) return; // the user has gone on
    if (answer.ok) show(ask(values, answer.body.email));
    else if (!showRefusal(answer)) show(uncertain(values, answer));
  });
  return { title: "Checking the link", step: 1, content: [badge("mail"), title, paragraph("This takes a second.")] };
}

function ask(values: SignedLink, address: string): View {
  return {
    title: "Finish your account",
    step: 1,
    content: [
      heading("Finish your account"),
      element("p", { class: "lead" }, "Choose your name and password, and your account is ready."),
      form({
        fields: [provenAddress(address), ...ACCOUNT_FIELDS],
        button: "Create account",
        busy: "Creating your account…",
        send: (typed) => api.verify(values, newAccount(typed)),
        onSuccess: (_, { token }) => welcome(token),
        onRefusal: showRefusal,
      }),
      element(
        "p",
        { class: "hint" },
        "Did somebody else ask for this mail? Close this page: nothing was made with your address.",
      ),
    ],
  };
}

/** Show the page of a link that does not work; tell whether the refusal was about the link. */
function showRefusal({ code, errors }: Refusal): boolean {
  const malformed = ["user_id", "timestamp", "signature"].some((name) => name in errors);
  const view = malformed ? invalid : { "signature-expired": expired, "signature-invalid": invalid }[code];
  if (view) show(view());
  return view !== undefined;
}

function expired(): View {
  return {
    title: "This link has expired",
    step: 1,
    content: [
      badge("bad"),
      heading("This link has expired"),
      paragraph("Such links work for a limited time only, and this one is too old. We will gladly send you a new one."),
      addressForm("Send me a new mail"),
    ],
  };
}

function invalid(): View {
  return {
    title: "This link is not valid",
    step: 1,
    content: [
      badge("bad"),
      heading("This link is not valid"),
      paragraph(
        "If you have finished your account already, the link has done its work: ",
        element("a", { href: "/log-in/" }, "log in"),
        ".",
      ),
      paragraph("Otherwise some of it may have been lost on the way. Open it from the mail once more, or have a new one sent."),
      addressForm("Send me a new mail"),
    ],
  };
}

function incomplete(): View {
  return {
    title: "This link is incomplete",
    step: 1,
    content: [
      badge("bad"),
      heading("This link is incomplete"),
      paragraph("This page is opened by the link in the mail that you got when you signed up."),
      linkButton("Open the mailbox", `${api.API}/mailbox/`),
    ],
  };
}

/** Nobody knows what the link is worth: the server could not be asked. */
function uncertain(values: SignedLink, { detail }: Refusal): View {
  const again = element("button", { type: "button" }, "Try again");
  again.addEventListener("click", () => show(check(values)));
  return {
    title: "The link could not be checked",
    step: 1,
    content: [badge("bad"), heading("The link could not be checked"), paragraph(detail), again],
  };
}
