/** The second page: the code in the mail, and the account. */

import * as api from "../api";
import type { Answer } from "../api";
import { accountFields, newAccount, provenAddress } from "../account-fields";
import { element, fill, heading, link, newWindow } from "../elements";
import { form } from "../form";
import { texts } from "../language";
import { pageState, type View } from "../router";
import { sendAgain } from "../send-again";
import { address as askForAddress } from "./address";
import { welcome } from "./done";

export function code(): View {
  const { address } = pageState();
  // Whoever comes without an address gives it again. That sends no second mail within the cooldown.
  return address ? ask(address) : askForAddress();
}

function ask(address: string): View {
  const words = texts();
  return {
    title: words.lookIntoMailbox,
    step: 1,
    content: [
      heading(words.lookIntoMailbox),
      element(
        "p",
        { class: "lead" },
        ...fill(words.codeLead, { mailbox: newWindow(words.yourMailbox, `${api.API}/mailbox/`) }),
      ),
      form({
        fields: [
          {
            ...provenAddress(address),
            below: element("p", { class: "hint" }, link(words.otherAddress, "/")),
          },
          {
            name: "code",
            label: words.code,
            type: "text",
            autocomplete: "one-time-code",
            inputmode: "numeric",
            hint: words.codeHint,
            below: sendAgain(address),
          },
          ...accountFields(),
        ],
        button: words.createAccount,
        busy: words.creatingAccount,
        send: async (values) =>
          atTheCode(await api.verify({ email: address, code: values("code") }, newAccount(values))),
        onSuccess: (_, { token }) => welcome(token),
      }),
      element("h2", {}, words.noCode),
      element("p", { class: "hint" }, words.noCodeText),
      element("h2", {}, words.finished),
      element("p", { class: "hint" }, ...fill(words.finishedText, { logIn: link(words.logInInSentence, "/log-in/") })),
    ],
  };
}

/** Tell of a code that is not valid at its field. The API does not say why, so that nobody learns from guessing. */
function atTheCode<Body>(answer: Answer<Body>): Answer<Body> {
  if (answer.ok || answer.code !== "code-invalid") return answer;
  return { ...answer, errors: { code: [texts().codeNotValid] } };
}
