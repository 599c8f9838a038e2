/** The fields that an account is made of, on the page with the code and on the page behind the link. */

import type { NewAccount } from "./api";
import type { FieldOptions, Values } from "./form";
import { texts } from "./language";

/** The address, which cannot be changed any more: password managers store it as what one logs in with. */
export function provenAddress(address: string): FieldOptions {
  return { name: "email", label: texts().email, type: "email", autocomplete: "username", fixed: address };
}

export function accountFields(): readonly FieldOptions[] {
  const { username, password, passwordHint, passwordConfirm } = texts();
  return [
    { name: "username", label: username, type: "text", autocomplete: "nickname" },
    { name: "password", label: password, type: "password", autocomplete: "new-password", hint: passwordHint },
    { name: "password_confirm", label: passwordConfirm, type: "password", autocomplete: "new-password" },
  ];
}

export function newAccount(values: Values): NewAccount {
  return {
    username: values("username"),
    password: values("password"),
    password_confirm: values("password_confirm"),
  };
}
