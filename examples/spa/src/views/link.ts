/** The page behind the link in the mail: for those who read it on another device, or find no code in it. */

import * as api from "../api";
import type { Refusal, SignedLink } from "../api";
import { accountFields, newAccount, provenAddress } from "../account-fields";
import { badge, element, heading, linkButton, paragraph } from "../elements";
import { form } from "../form";
import { texts } from "../language";
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
  const title = heading(texts().checkingLink);
  void api.checkLink(values).then((answer) => {
    if (!title.isConnected) return; // the user has gone on
    if (answer.ok) show(() => ask(values, answer.body.email));
    else if (!showRefusal(answer)) show(() => uncertain(values, answer));
  });
  return { title: texts().checkingLink, step: 1, content: [badge("mail"), title, paragraph(texts().takesASecond)] };
}

function ask(values: SignedLink, address: string): View {
  const words = texts();
  return {
    title: words.finishAccount,
    step: 1,
    content: [
      heading(words.finishAccount),
      element("p", { class: "lead" }, words.finishLead),
      form({
        fields: [provenAddress(address), ...accountFields()],
        button: words.createAccount,
        busy: words.creatingAccount,
        send: (typed) => api.verify(values, newAccount(typed)),
        onSuccess: (_, { token }) => welcome(token),
        onRefusal: showRefusal,
      }),
      element("p", { class: "hint" }, words.somebodyElse),
    ],
  };
}

/** Show the page of a link that does not work; tell whether the refusal was about the link. */
function showRefusal({ code, errors }: Refusal): boolean {
  const malformed = ["user_id", "timestamp", "signature"].some((name) => name in errors);
  const view = malformed ? invalid : { "signature-expired": expired, "signature-invalid": invalid }[code];
  if (view) show(view);
  return view !== undefined;
}

function expired(): View {
  const words = texts();
  return {
    title: words.linkExpired,
    step: 1,
    content: [
      badge("bad"),
      heading(words.linkExpired),
      paragraph(words.linkExpiredText),
      addressForm(words.newMail),
    ],
  };
}

function invalid(): View {
  const words = texts();
  return {
    title: words.linkInvalid,
    step: 1,
    content: [
      badge("bad"),
      heading(words.linkInvalid),
      paragraph(words.linkUsed),
      linkButton(words.logIn, "/log-in/"),
      element("h2", {}, words.noAccountYet),
      paragraph(words.linkBroken),
      addressForm(words.newMail),
    ],
  };
}

function incomplete(): View {
  const words = texts();
  return {
    title: words.linkIncomplete,
    step: 1,
    content: [
      badge("bad"),
      heading(words.linkIncomplete),
      paragraph(words.linkIncompleteText),
      linkButton(words.openMailbox, `${api.API}/mailbox/`),
    ],
  };
}

/** Nobody knows what the link is worth: the server could not be asked. */
function uncertain(values: SignedLink, { detail }: Refusal): View {
  const words = texts();
  const again = element("button", { type: "button" }, words.tryAgain);
  again.addEventListener("click", () => show(() => check(values)));
  return {
    title: words.linkUnchecked,
    step: 1,
    content: [badge("bad"), heading(words.linkUnchecked), paragraph(detail), again],
  };
}
