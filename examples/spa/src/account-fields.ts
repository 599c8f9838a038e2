/** The fields that an account is made of, on the page with the code and on the page behind the link. */

import type { NewAccount } from "./api";
import type { FieldOptions, Values } from "./form";

/** The address, which cannot be changed any more: password managers store it as what one logs in with. */
export function provenAddress(address: string): FieldOptions {
  return { name: "email", label: "E-mail address", type: "email", autocomplete: "username", fixed: address };
}

export const ACCOUNT_FIELDS: readonly FieldOptions[] = [
  { name: "username", label: "User name", type: "text", autocomplete: "nickname" },
  {
    name: "password",
    label: "Password",
    type: "password",
    autocomplete: "new-password",
    hint: "At least 8 characters, and hard to guess.",
  },
  { name: "password_confirm", label: "Repeat the password", type: "password", autocomplete: "new-password" },
];

export function newAccount(values: Values): NewAccount {
  return {
    username: values("username"),
    password: values("password"),
    password_confirm: values("password_confirm"),
  };
}
