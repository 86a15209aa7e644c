//! Rows about how the broker itself would log in to others.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::Anything;
use millrace_engine::config::Handling::Accepted;
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::ASSERTION_ALGORITHM;

pub(super) const ROWS: &[Property] = properties! {
    "sasl.client.callback.handler.class": Class, Anything, ReadOnly, Accepted,
        "Java class that supplies credentials.";
    "sasl.kerberos.kinit.cmd": String = "/usr/bin/kinit", Anything, PerBroker, Accepted,
        "Path of kinit.";
    "sasl.kerberos.min.time.before.relogin": Long = "60000", Anything, PerBroker, Accepted,
        "Pause between two Kerberos logins.";
    "sasl.kerberos.principal.to.local.rules": List = "DEFAULT", Anything, PerBroker, Accepted,
        "Rules that turn a Kerberos principal into a user.";
    "sasl.kerberos.ticket.renew.jitter": Double = "0.05", Anything, PerBroker, Accepted,
        "Random share added to the renewal time of a ticket.";
    "sasl.kerberos.ticket.renew.window.factor": Double = "0.8", Anything, PerBroker, Accepted,
        "Share of a ticket's life after which it is renewed.";
    "sasl.login.callback.handler.class": Class, Anything, ReadOnly, Accepted,
        "Java class that supplies logins.";
    "sasl.login.class": Class, Anything, ReadOnly, Accepted,
        "Java class that logs in.";
    "sasl.login.connect.timeout.ms": Int, Anything, ReadOnly, Accepted,
        "Time-out of the connection to a login server.";
    "sasl.login.read.timeout.ms": Int, Anything, ReadOnly, Accepted,
        "Time-out of the answer of a login server.";
    "sasl.login.refresh.buffer.seconds": Short = "300", Anything, PerBroker, Accepted,
        "Time before its end at which a credential is refreshed.";
    "sasl.login.refresh.min.period.seconds": Short = "60", Anything, PerBroker, Accepted,
        "Least time between two refreshes.";
    "sasl.login.refresh.window.factor": Double = "0.8", Anything, PerBroker, Accepted,
        "Share of a credential's life after which it is refreshed.";
    "sasl.login.refresh.window.jitter": Double = "0.05", Anything, PerBroker, Accepted,
        "Random share added to that time.";
    "sasl.login.retry.backoff.max.ms": Long = "10000", Anything, ReadOnly, Accepted,
        "Longest pause between login attempts.";
    "sasl.login.retry.backoff.ms": Long = "100", Anything, ReadOnly, Accepted,
        "First pause between login attempts.";
    "sasl.oauthbearer.assertion.algorithm": String = "RS256", ASSERTION_ALGORITHM, ReadOnly, Accepted,
        "Algorithm that signs assertions.";
    "sasl.oauthbearer.assertion.claim.aud": String, Anything, ReadOnly, Accepted,
        "Audience of assertions.";
    "sasl.oauthbearer.assertion.claim.exp.seconds": Int = "300", Allowed::between(0, 86_400), ReadOnly, Accepted,
        "Life of an assertion.";
    "sasl.oauthbearer.assertion.claim.iss": String, Anything, ReadOnly, Accepted,
        "Issuer of assertions.";
    "sasl.oauthbearer.assertion.claim.jti.include": Boolean = "false", Anything, ReadOnly, Accepted,
        "Whether assertions carry an id.";
    "sasl.oauthbearer.assertion.claim.nbf.seconds": Int = "60", Allowed::between(0, 3600), ReadOnly, Accepted,
        "How far an assertion is dated back.";
    "sasl.oauthbearer.assertion.claim.sub": String, Anything, ReadOnly, Accepted,
        "Subject of assertions.";
    "sasl.oauthbearer.assertion.file": String, Anything, ReadOnly, Accepted,
        "File that holds an assertion.";
    "sasl.oauthbearer.assertion.private.key.file": String, Anything, ReadOnly, Accepted,
        "File of the key that signs assertions.";
    "sasl.oauthbearer.assertion.private.key.passphrase": Password, Anything, ReadOnly, Accepted,
        "Password of that key.";
    "sasl.oauthbearer.assertion.template.file": String, Anything, ReadOnly, Accepted,
        "File with further claims of assertions.";
    "sasl.oauthbearer.client.credentials.client.id": String, Anything, ReadOnly, Accepted,
        "Client id for the token endpoint.";
    "sasl.oauthbearer.client.credentials.client.secret": Password, Anything, ReadOnly, Accepted,
        "Client secret for the token endpoint.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms": Long = "3600000", Anything, ReadOnly, Accepted,
        "How often the signing keys are fetched.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms": Long = "10000", Anything, ReadOnly, Accepted,
        "Longest pause between attempts to fetch them.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms": Long = "100", Anything, ReadOnly, Accepted,
        "First pause between attempts to fetch them.";
    "sasl.oauthbearer.jwt.retriever.class": Class = "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", Anything, ReadOnly, Accepted,
        "Java class that fetches tokens.";
    "sasl.oauthbearer.jwt.validator.class": Class = "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", Anything, ReadOnly, Accepted,
        "Java class that checks tokens.";
    "sasl.oauthbearer.scope": String, Anything, ReadOnly, Accepted,
        "Scope asked of the token endpoint.";
    "sasl.oauthbearer.token.endpoint.url": String, Anything, ReadOnly, Accepted,
        "Where tokens are fetched.";
};
