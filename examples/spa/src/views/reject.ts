/** The page behind the mail's second link: "this was not me". */

import * as api from "../api";
import type { Refusal, SignedLink } from "../api";
import { badge, element, heading, linkButton, paragraph } from "../elements";
import { form } from "../form";
import { isDone, markDone, takeLink } from "../link";
import { show, type View } from "../router";

export function reject(): View {
  const link = takeLink();
  if (link) return ask(link);
  return isDone() ? done() : incomplete();
}

/** A click here too: a scanner that opens links must not delete what somebody wants to keep. */
function ask(link: SignedLink): View {
  return {
    title: "This was not me",
    content: [
      badge("mail"),
      heading("Was it somebody else?"),
      element("p", { class: "lead" }, "Somebody signed up here with your address. If that was not you, delete the account."),
      paragraph("This cannot be undone. If it was you, close this page and open the other link in the mail."),
      form({
        fields: [],
        button: "Delete the account",
        busy: "Deleting…",
        kind: "danger",
        send: () => api.reject(link),
        onSuccess: () => {
          markDone();
          show(done());
        },
        onRefusal: showRefusal,
      }),
    ],
  };
}

function showRefusal({ code }: Refusal): boolean {
  const view = { "signature-expired": expired, "signature-invalid": nothingToDelete, invalid: nothingToDelete }[code];
  if (view) show(view());
  return view !== undefined;
}

function done(): View {
  return {
    title: "The account is deleted",
    content: [
      badge("good"),
      heading("The account is deleted"),
      paragraph("The links in the mail do nothing any more, and your address is free."),
    ],
  };
}

function expired(): View {
  return {
    title: "This link has expired",
    content: [
      badge("bad"),
      heading("This link has expired"),
      paragraph("Nobody can confirm your address with that mail any more. You need not do anything."),
    ],
  };
}

function nothingToDelete(): View {
  return {
    title: "There is nothing to delete",
    content: [
      badge("bad"),
      heading("There is nothing to delete"),
      paragraph("The account is gone, or its address was confirmed, or some of the link was lost on the way."),
    ],
  };
}

function incomplete(): View {
  return {
    title: "This link is incomplete",
    content: [
      badge("bad"),
      heading("This link is incomplete"),
      paragraph("This page is opened by the second link in the mail."),
      linkButton("Open the mailbox", `${api.API}/mailbox/`),
    ],
  };
}
