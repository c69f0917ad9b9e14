"""Makes broker/src/ingress/verify/vectors-made.toml: one webhook per provider, signed as the provider says that it signs.

A second implementation on purpose: Python's hmac, hashlib and zlib, and OpenSSL through `cryptography`; it reads nothing of the table of
providers. It was run once; what it wrote is committed. Private keys are made anew in every run and kept nowhere.

    pip install cryptography && python3 tests/vectors/generate.py
"""

import base64
import hashlib
import hmac
import json
import pathlib
import zlib
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

NOW = 1_700_000_000
ISO = "2023-11-14T22:13:20Z"
SECRET = "It's a Secret to Everybody"
BASE = "https://hooks.example.com"
# What a parser would change: escapes, the order of keys, a number beyond 2^53.
BODY = r'{"id":820982911946154508,"note":"caf\u00e9 \u001b","b":1,"a":2}'
CLOUDEVENT = r'{"specversion":"1.0","id":"a-1","source":"/orders","type":"com.example.placed","data":{"n":820982911946154508}}'

vectors = []


def mac(hash_name, content, key=SECRET):
    return hmac.new(key if isinstance(key, bytes) else key.encode(), content.encode(), hash_name).digest()


def b64(data):
    return base64.b64encode(data).decode()


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def add(scheme, headers, body=BODY, secret=SECRET, now=NOW, name=None, **more):
    vectors.append({"name": name or scheme, "origin": "Python", "scheme": scheme, "secret": secret, "now": now, **more, "headers": headers, "body": body})


def spki(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def raw(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def certificate(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer.example.com")])
    start = datetime.fromtimestamp(NOW, timezone.utc) - timedelta(days=30)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(start).not_valid_after(start + timedelta(days=365))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


# ---- HMAC over the body, and over the body with a time.

for scheme, header, hash_name, prefix, encode in [
    ("hmac", "X-Webhook-Signature", "sha256", "", bytes.hex),
    ("bitbucket", "X-Hub-Signature", "sha256", "sha256=", bytes.hex),
    ("jira", "X-Hub-Signature", "sha256", "sha256=", bytes.hex),
    ("sentry", "Sentry-Hook-Signature", "sha256", "", bytes.hex),
    ("intercom", "X-Hub-Signature", "sha1", "sha1=", bytes.hex),
    ("meta", "X-Hub-Signature-256", "sha256", "sha256=", bytes.hex),
    ("asana", "X-Hook-Signature", "sha256", "", bytes.hex),
    ("dropbox", "X-Dropbox-Signature", "sha256", "", bytes.hex),
    ("typeform", "Typeform-Signature", "sha256", "sha256=", b64),
    ("docusign", "X-DocuSign-Signature-2", "sha256", "", b64),
    ("vercel", "x-vercel-signature", "sha1", "", bytes.hex),
    ("x", "x-twitter-webhooks-signature", "sha256", "sha256=", b64),
    ("gitea", "X-Gitea-Signature", "sha256", "", bytes.hex),
    ("forgejo", "X-Forgejo-Signature", "sha256", "", bytes.hex),
    ("woocommerce", "X-WC-Webhook-Signature", "sha256", "", b64),
    ("notion", "X-Notion-Signature", "sha256", "sha256=", bytes.hex),
    ("razorpay", "X-Razorpay-Signature", "sha256", "", bytes.hex),
    ("hcp-vault-radar", "X-HCP-Radar-Signature", "sha512", "sha512=", bytes.hex),
    ("pagerduty", "X-PagerDuty-Signature", "sha256", "v1=00,v1=", bytes.hex),
    ("circleci", "circleci-signature", "sha256", "v2=00,v1=", bytes.hex),
]:
    add(scheme, {header: prefix + encode(mac(hash_name, BODY))})

hex_key = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
add("adyen-platform", {"HmacSignature": b64(mac("sha256", BODY, bytes.fromhex(hex_key)))}, secret=hex_key)
add("zoom", {"x-zm-request-timestamp": str(NOW), "x-zm-signature": "v0=" + mac("sha256", f"v0:{NOW}:{BODY}").hex()})
add("calendly", {"Calendly-Webhook-Signature": f"t={NOW},v1=" + mac("sha256", f"{NOW}.{BODY}").hex()})
add("paddle", {"Paddle-Signature": f"ts={NOW};h1=" + mac("sha256", f"{NOW}:{BODY}").hex()})
add("zendesk", {"X-Zendesk-Webhook-Signature-Timestamp": ISO, "X-Zendesk-Webhook-Signature": b64(mac("sha256", ISO + BODY))})
add("webflow", {"x-webflow-timestamp": f"{NOW}000", "x-webflow-signature": mac("sha256", f"{NOW}000:{BODY}").hex()})
when = "2023-11-14T14:13:20-08:00"
wrong = b64(mac("sha256", BODY + when, "the other key"))
add("box", {"BOX-DELIVERY-TIMESTAMP": when, "BOX-SIGNATURE-PRIMARY": wrong, "BOX-SIGNATURE-SECONDARY": b64(mac("sha256", BODY + when))})
linear = '{"action":"update","type":"Issue","webhookTimestamp":1700000000500}'
add("linear", {"Linear-Signature": mac("sha256", linear).hex()}, body=linear)
standard = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
for scheme, head in [("svix", "svix"), ("gitlab-signed", "webhook")]:
    signature = "v1," + b64(mac("sha256", f"msg_1.{NOW}.{BODY}", standard))
    headers = {f"{head}-id": "msg_1", f"{head}-timestamp": str(NOW), f"{head}-signature": signature}
    add(scheme, headers, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

# ---- The address is signed.

target = "/hooks/a?x=%2Fb%26c"
add("square", {"x-square-hmacsha256-signature": b64(mac("sha256", BASE + target + BODY))}, base=BASE, target=target)
add("trello", {"X-Trello-Webhook": b64(mac("sha1", BODY + BASE + target))}, base=BASE, target=target)
signature = b64(mac("sha256", f"POST{BASE}/hooks/a?x=/b%26c{BODY}{NOW}000"))
add("hubspot", {"X-HubSpot-Request-Timestamp": f"{NOW}000", "X-HubSpot-Signature-v3": signature}, base=BASE, target=target)
for scheme, content in [("hubspot-v1", SECRET + BODY), ("hubspot-v2", f"{SECRET}POST{BASE}{target}{BODY}")]:
    add(scheme, {"X-HubSpot-Signature": hashlib.sha256(content.encode()).hexdigest()}, base=BASE, target=target)
target = "/hooks/twilio?bodySHA256=" + hashlib.sha256(BODY.encode()).hexdigest()
headers = {"Content-Type": "application/json", "X-Twilio-Signature": b64(mac("sha1", BASE + target))}
add("twilio", headers, base=BASE, target=target, name="twilio, JSON")

# ---- The signature, or what is signed, stands in the body.

item = {"pspReference": "7914073381342284", "originalReference": "", "merchantAccountCode": "TestMerchant", "merchantReference": "a: b"}
item |= {"amount": {"value": 1130, "currency": "EUR"}, "eventCode": "AUTHORISATION", "success": "true"}


def adyen(item):
    amount = item["amount"]
    parts = [item[name] for name in ["pspReference", "originalReference", "merchantAccountCode", "merchantReference"]]
    content = ":".join(map(str, [*parts, amount["value"], amount["currency"], item["eventCode"], item["success"]]))
    signed = {**item, "additionalData": {"hmacSignature": b64(mac("sha256", content, bytes.fromhex(hex_key)))}}
    return {"NotificationRequestItem": signed}


items = [adyen(item), adyen({**item, "pspReference": "7914073381342285", "originalReference": "7914073381342284", "eventCode": "CAPTURE"})]
add("adyen", {}, body=json.dumps({"live": "false", "notificationItems": items}), secret=hex_key)
token = {"timestamp": str(NOW), "token": "8b1d3c5f"}
token["signature"] = mac("sha256", token["timestamp"] + token["token"]).hex()
add("mailgun", {}, body=json.dumps({"signature": token, "event-data": {"event": "delivered", "id": "x"}}))

# ---- The secret itself.

add("bearer", {"Authorization": f"Bearer {SECRET}"})
add("cloudevents", {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/cloudevents+json"}, body=CLOUDEVENT)
add("basic", {"Authorization": "Basic " + b64(b"waypost:pass:word")}, secret="waypost:pass:word")
add("gitlab", {"X-Gitlab-Token": SECRET})
add("okta", {"Authorization": SECRET})
add("auth0", {"Authorization": SECRET})
add("telegram", {"X-Telegram-Bot-Api-Secret-Token": SECRET})
add("azure-event-grid", {}, target="/hooks/grid?key=secret%20word", secret="secret word")
changes = {"value": [{"clientState": SECRET, "changeType": "created"}, {"clientState": SECRET, "changeType": "deleted"}]}
add("microsoft-graph", {}, body=json.dumps(changes))

# ---- Ed25519.

key = ed25519.Ed25519PrivateKey.generate()
content = f"{NOW}{BODY}".encode()
for scheme in ["discord", "discord-events"]:
    add(scheme, {"X-Signature-Timestamp": str(NOW), "X-Signature-Ed25519": key.sign(content).hex()}, secret=raw(key).hex())
signature = b64(key.sign(f"{NOW}|{BODY}".encode()))
add("telnyx", {"telnyx-timestamp": str(NOW), "telnyx-signature-ed25519": signature}, secret=b64(raw(key)))
signature = "v1,AAAA v1a," + b64(key.sign(f"msg_1.{NOW}.{BODY}".encode()))
headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": signature}
add("standard-webhooks-ed25519", headers, secret="whpk_" + b64(raw(key)))

# ---- ECDSA with P-256.

key = ec.generate_private_key(ec.SECP256R1())
signature = b64(key.sign(f"{NOW}{BODY}".encode(), ec.ECDSA(hashes.SHA256())))
head = "X-Twilio-Email-Event-Webhook"
add("sendgrid", {f"{head}-Timestamp": str(NOW), f"{head}-Signature": signature}, secret=b64(spki(key)))
headers = {"X-Circle-Signature": b64(key.sign(BODY.encode(), ec.ECDSA(hashes.SHA256()))), "X-Circle-Key-Id": "1"}
answer = {"data": {"id": "1", "algorithm": "ECDSA_SHA_256", "publicKey": b64(spki(key)), "createDate": "2023-06-28T21:47:35.107250Z"}}
for scheme, path in [("circle", ""), ("circle-cpn", "cpn/")]:
    url = f"https://api.circle.com/v2/{path}notifications/publicKey/1"
    add(scheme, headers, secret="", fetched={"url": url, "body": json.dumps(answer)})


def jwt(header, claims, sign):
    signed = ".".join(b64url(json.dumps(part).encode()) for part in [header, claims])
    return signed + "." + b64url(sign(signed.encode()))


def es256(content):
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


numbers = key.public_key().public_numbers()
jwk = {"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig"}
jwk |= {"x": b64url(numbers.x.to_bytes(32, "big")), "y": b64url(numbers.y.to_bytes(32, "big"))}
claims = {"iat": NOW, "request_body_sha256": hashlib.sha256(BODY.encode()).hexdigest()}
token = jwt({"alg": "ES256", "kid": "k1", "typ": "JWT"}, claims, es256)
answer = {"key": jwk | {"created_at": 1560466143, "expired_at": None}, "request_id": "RZ6Omi1bzzwDaLo"}
for scheme, host in [("plaid", "production"), ("plaid-sandbox", "sandbox")]:
    url = f"https://{host}.plaid.com/webhook_verification_key/get"
    add(scheme, {"Plaid-Verification": token}, secret="", fetched={"url": url, "id": "k1", "body": json.dumps(answer)})

# ---- RSA, with keys from the network.

key = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def rsa_sign(content, algorithm=hashes.SHA256()):
    return key.sign(content, padding.PKCS1v15(), algorithm)


def fetched(url, body):
    return {"url": url, "body": body}


url = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
topic = "arn:aws:sns:us-east-1:123456789012:orders"
for scheme, version, algorithm in [("aws-sns", "2", hashes.SHA256()), ("aws-sns-v1", "1", hashes.SHA1())]:
    message = {"Type": "Notification", "MessageId": "m-1", "TopicArn": topic, "Subject": "an order", "Message": '{"id":1,\n"a":2}', "Timestamp": ISO}
    content = "".join(f"{name}\n{message[name]}\n" for name in ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"])
    message |= {"SignatureVersion": version, "Signature": b64(rsa_sign(content.encode(), algorithm)), "SigningCertURL": url}
    message["UnsubscribeURL"] = "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe"
    headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
    pem = fetched(url, certificate(key))
    add(scheme, headers, body=json.dumps(message), secret="", allow={"topic": [topic]}, fetched=pem)
    if version == "2":
        message = {"Type": "SubscriptionConfirmation", "MessageId": "m-2", "Token": "abc", "TopicArn": topic, "Message": "You have chosen", "Timestamp": ISO}
        message["SubscribeURL"] = f"https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={topic}&Token=abc"
        order = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        content = "".join(f"{name}\n{message[name]}\n" for name in order)
        message |= {"SignatureVersion": version, "Signature": b64(rsa_sign(content.encode())), "SigningCertURL": url}
        add(scheme, headers, body=json.dumps(message), secret="", allow={"topic": [topic]}, fetched=pem, name="aws-sns, confirmation")

url = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
content = f"tr-1|{ISO}|WH-1|{zlib.crc32(BODY.encode())}"
headers = {"PAYPAL-TRANSMISSION-ID": "tr-1", "PAYPAL-TRANSMISSION-TIME": ISO, "PAYPAL-CERT-URL": url, "PAYPAL-AUTH-ALGO": "SHA256withRSA"}
headers["PAYPAL-TRANSMISSION-SIG"] = b64(rsa_sign(content.encode()))
add("paypal", headers, secret="WH-1", fetched=fetched(url, certificate(key)))

numbers = key.public_key().public_numbers()
jwk = {"kty": "RSA", "kid": "g1", "alg": "RS256", "use": "sig", "e": "AQAB", "n": b64url(numbers.n.to_bytes(256, "big"))}
other = {"kty": "oct", "kid": "g0", "k": "AAAA"}
claims = {"iss": "https://accounts.google.com", "aud": "https://hooks.example.com", "email": "push@project.iam.gserviceaccount.com"}
claims |= {"email_verified": True, "iat": NOW, "exp": NOW + 3600, "sub": "1"}
token = jwt({"alg": "RS256", "kid": "g1", "typ": "JWT"}, claims, rsa_sign)
allow = {"audience": [claims["aud"]], "email": [claims["email"]]}
keys = fetched("https://www.googleapis.com/oauth2/v3/certs", json.dumps({"keys": [other, jwk]}))
body = '{"message":{"data":"e30=","messageId":"136969346945"},"subscription":"projects/p/subscriptions/s"}'
add("google-pubsub", {"Authorization": f"Bearer {token}"}, body=body, secret="", allow=allow, fetched=keys)


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in value.items()) + " }" if value else "{}"
    # JSON's strings and numbers, and lists of them, are TOML's, but for what is not ASCII.
    return json.dumps(value, ensure_ascii=True)


text = "# Made by tests/vectors/generate.py, a second implementation; see there. Never edited by hand.\n"
for vector in vectors:
    text += "\n[[vector]]\n" + "".join(f"{name} = {toml(value)}\n" for name, value in vector.items())
root = pathlib.Path(__file__).resolve().parents[2]
(root / "broker/src/ingress/verify/vectors-made.toml").write_text(text)
