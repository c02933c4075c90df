// Package signin is how people get a token without an administrator: pages to
// sign in with a password or a one-time code, and the OAuth endpoints by which a
// program on their desktop or on a device without a browser is given a token of
// theirs. It follows RFC 6749 with PKCE (RFC 7636) and loopback redirects (RFC
// 8252), RFC 8628 (device codes), RFC 7009 (revocation), RFC 8414 (metadata) and
// RFC 9207 (who answers).
//
// Pages carry a session in a cookie and need no script. The API never takes a
// cookie, and the pages never take a token. Forms, all by POST with the hidden
// field csrf: /login (username, password, next), /device (user_code, action
// approve or deny; without action it asks), /oauth2/authorize (the request's own
// parameters, action approve or deny), /cli-auth and /logout.
//
// What waits for a decision, device codes and authorization codes, is in memory
// only, by the hash of its code: a restart costs whoever is signing in that
// moment a second try, and nothing that is written can be used.
package signin
