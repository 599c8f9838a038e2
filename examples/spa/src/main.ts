import { reject } from "./views/reject";
import { notFound } from "./views/not-found";
import { mailSent, signUp } from "./views/sign-up";
import { verify } from "./views/verify";
import { start } from "./router";

start(
  {
    "/": signUp,
    "/mail-sent/": mailSent,
    "/verify-user/": verify,
    "/reject-user/": reject,
  },
  notFound,
);
