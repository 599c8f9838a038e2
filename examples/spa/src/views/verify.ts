/** The page behind the link in the mail. */

import * as api from "../api";
import type { Refusal, SignedLink } from "../api";
import { badge, element, heading, linkButton, paragraph } from "../elements";
import { form } from "../form";
import { isDone, markDone, takeLink } from "../link";
import { show, type View } from "../router";
import { sendAgain } from "../send-again";

export function verify(): View {
  const link = takeLink();
  if (link) return ask(link);
  return isDone() ? alreadyDone() : incomplete();
}

/**
 * Ask for a click, and send nothing before it: the scanners of mail servers open links and run the scripts behind
 * them, and would confirm addresses whose mail nobody has read.
 */
function ask(link: SignedLink): View {
  return {
    title: "Confirm your address",
    step: 1,
    content: [
      badge("mail"),
      heading("Confirm your address"),
      element("p", { class: "lead" }, "One click, and your account is ready."),
      form({
        fields: [],
        button: "Confirm my address",
        busy: "Confirming…",
        send: () => api.verify(link),
        onSuccess: () => {
          markDone();
          show(done());
        },
        onRefusal: showRefusal,
      }),
      element(
        "p",
        { class: "hint" },
        "Did somebody else sign up with your address? Close this page. The mail has a link that deletes the account.",
      ),
    ],
  };
}

function showRefusal({ code }: Refusal): boolean {
  const view = { "signature-expired": expired, "signature-invalid": invalid, invalid }[code];
  if (view) show(view());
  return view !== undefined;
}

function done(): View {
  return {
    title: "Your address is confirmed",
    step: 3,
    content: [
      badge("good"),
      heading("Your address is confirmed"),
      paragraph("Welcome! Your account is ready to use."),
    ],
  };
}

function alreadyDone(): View {
  return {
    title: "Already confirmed",
    step: 3,
    content: [
      badge("good"),
      heading("Your address is confirmed already"),
      paragraph("There is nothing left to do: your account is ready to use."),
    ],
  };
}

function expired(): View {
  return {
    title: "This link has expired",
    step: 1,
    content: [
      badge("bad"),
      heading("This link has expired"),
      paragraph("Such links work for a limited time only, and this one is too old. We will gladly mail you a new one."),
      sendAgain({ button: "Send me a new link" }),
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
        "Some of it may have been lost on the way: open it from the mail once more, or copy the whole of it. " +
          "If a newer mail has come, use the link in that one.",
      ),
      linkButton("Open the mailbox", `${api.API}/mailbox/`),
      element("h2", {}, "Still not valid?"),
      sendAgain({ button: "Send me a new link", kind: "quiet" }),
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
