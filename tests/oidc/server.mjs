// A certified OpenID Connect server as a foreign issuer, with a control beside it: rotates its keys,
// lets it be away, slow or wrong, and signs tokens that it would never issue.
//
//   node server.mjs FOLDER   where FOLDER has node_modules
//
// Says on which ports of loopback both listen.

import crypto from "node:crypto";
import http from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const modules = path.join(process.argv[2], "node_modules");
const from = (file) => import(pathToFileURL(path.resolve(modules, file)));
const { default: Provider } = await from("oidc-provider/lib/index.js");
const jose = await from("jose/dist/webapi/index.js");

const AUDIENCE = "customer-flow";
const ALGORITHM = "RS256";
const SCOPES = "orders:read orders:write invoices:read";

function newKey() {
  const { privateKey } = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = privateKey.export({ format: "jwk" });
  // It does not say for which algorithm it is: whoever checks tokens has to know.
  return { ...jwk, kid: crypto.randomUUID(), use: "sig" };
}

// The first one signs.
let keys = [newKey()];
const stranger = newKey();
const requests = { discovery: 0, jwks: 0 };
let fault = { kind: "none" };
let issuer;
let answer;

function client(name) {
  return {
    client_id: name,
    client_secret: `secret-of-${name}`,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
  };
}

// The server with the keys that there are now.
function restart() {
  const provider = new Provider(issuer, {
    clients: [client("shop"), client("other")],
    scopes: SCOPES.split(" "),
    jwks: { keys },
    // What a client may make its tokens say.
    extraTokenClaims: () => ({ account_id: "of-somebody-else", tenant: "of-somebody-else" }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "https://api.example.com",
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: SCOPES,
          audience: AUDIENCE,
          accessTokenTTL: 300,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: ALGORITHM } },
        }),
      },
    },
  });
  answer = provider.callback();
}

const server = http.createServer((request, response) => {
  const discovery = request.url === "/.well-known/openid-configuration";
  const jwks = request.url === "/jwks";
  if (discovery) requests.discovery += 1;
  if (jwks) requests.jwks += 1;
  const json = (body) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(body));
  };
  const documents = { issuer, jwks_uri: `${issuer}/jwks` };
  switch (fault.kind) {
    case "silent":
      return;
    case "endless": {
      response.setHeader("content-type", "application/json");
      const more = () => {
        while (response.write(" ".repeat(65536)));
      };
      response.on("drain", more);
      return more();
    }
    case "redirect":
      response.writeHead(302, { location: fault.to });
      return response.end();
    case "impostor":
      if (discovery) return json({ ...documents, issuer: "https://idp.example" });
      break;
    case "elsewhere":
      if (discovery) return json({ ...documents, jwks_uri: fault.to });
      break;
  }
  answer(request, response);
});

function pem(jwk) {
  const key = crypto.createPublicKey({ key: jwk, format: "jwk" });
  return key.export({ type: "spki", format: "pem" });
}

// A token with these claims and header over the usual ones; null takes one away.
function sign({ header = {}, claims = {}, how = "key" }) {
  const [key] = keys;
  const now = Math.floor(Date.now() / 1000);
  const clean = (all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
  const part = (all) => Buffer.from(JSON.stringify(clean(all))).toString("base64url");
  const text = [
    part({ alg: ALGORITHM, typ: "at+jwt", kid: key.kid, ...header }),
    part({
      iss: issuer, aud: AUDIENCE, sub: "shop", client_id: "shop", iat: now, exp: now + 300,
      jti: crypto.randomUUID(), scope: SCOPES, ...claims,
    }),
  ].join(".");
  const signature = {
    key: () => crypto.sign("sha256", text, crypto.createPrivateKey({ key, format: "jwk" })),
    rs512: () => crypto.sign("sha512", text, crypto.createPrivateKey({ key, format: "jwk" })),
    stranger: () => crypto.sign("sha256", text, crypto.createPrivateKey({ key: stranger, format: "jwk" })),
    "public-key-as-secret": () => crypto.createHmac("sha256", pem(key)).update(text).digest(),
    nothing: () => Buffer.alloc(0),
  }[how]();
  return `${text}.${signature.toString("base64url")}`;
}

const COMMANDS = {
  "/rotate": () => { keys = [newKey(), ...keys]; restart(); },
  "/remove-old": () => { keys = keys.slice(0, 1); restart(); },
  "/fault": (wanted) => { fault = wanted; },
  "/away": () => new Promise((done) => { server.close(done); server.closeAllConnections(); }),
  "/back": () => new Promise((done) => { server.listen(Number(new URL(issuer).port), "127.0.0.1", done); }),
  "/requests": () => requests,
  "/sign": (wanted) => ({ token: sign(wanted) }),
  // Judges a token of somebody else by what its issuer publishes.
  "/judge": async ({ metadata, token }) => {
    const { issuer, jwks_uri } = await (await fetch(metadata)).json();
    const published = jose.createRemoteJWKSet(new URL(jwks_uri));
    const { payload } = await jose.jwtVerify(token, published, {
      issuer,
      audience: issuer,
      typ: "at+jwt",
      algorithms: ["ES256"],
      requiredClaims: ["exp", "iss", "aud", "sub", "client_id", "iat", "jti"],
    });
    return payload;
  },
  "/stranger": () => {
    const { d, p, q, dp, dq, qi, ...open } = stranger;
    return open;
  },
};

const control = http.createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const result = await COMMANDS[request.url](body ? JSON.parse(body) : {});
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(result ?? {}));
});

await new Promise((done) => server.listen(0, "127.0.0.1", done));
issuer = `http://127.0.0.1:${server.address().port}`;
restart();
await new Promise((done) => control.listen(0, "127.0.0.1", done));
console.log(`issuer on ${issuer} control on http://127.0.0.1:${control.address().port} .`);
