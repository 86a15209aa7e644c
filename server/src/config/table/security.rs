//! Rows about who may connect and do what.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::{Anything, OneOf};
use millrace_engine::config::Handling::{Accepted, Mapped, Pending, Refused};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::{AUTHORIZER, JVM, SASL, TLS, TOKENS};

pub(super) const ROWS: &[Property] = properties! {
    "authorizer.class.name": String = "", AUTHORIZER, ReadOnly, Mapped,
        "What decides who may do what. There are no ACLs yet: Kafka's own are taken where super.users or allow.everyone.if.no.acl.found let everybody in.";
    "super.users": String, Anything, ReadOnly, Mapped,
        [unlisted],
        "Principals that every ACL lets pass, with ; between; without logins everybody is User:ANONYMOUS.";
    "allow.everyone.if.no.acl.found": Boolean = "false", Anything, ReadOnly, Mapped,
        [unlisted],
        "What holds where no ACL says anything; means nothing without an authorizer.";
    "principal.builder.class": Class = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", Anything, PerBroker, Refused(JVM),
        "What turns a connection into a principal.";
    "sasl.enabled.mechanisms": List = "GSSAPI", Anything, PerBroker, Pending(SASL),
        "SASL mechanisms that are offered.";
    "sasl.mechanism.inter.broker.protocol": String = "GSSAPI", Anything, PerBroker, Pending(SASL),
        "SASL mechanism between brokers.";
    "sasl.mechanism.controller.protocol": String = "GSSAPI", Anything, ReadOnly, Pending(SASL),
        "SASL mechanism between controllers.";
    "sasl.jaas.config": Password, Anything, PerBroker, Pending(SASL),
        "Users and passwords in Java's notation.";
    "sasl.server.callback.handler.class": Class, Anything, ReadOnly, Refused(JVM),
        "Java class that checks passwords.";
    "sasl.server.max.receive.size": Int = "524288", Anything, ReadOnly, Pending(SASL),
        "The largest SASL message, in bytes.";
    "sasl.oauthbearer.jwks.endpoint.url": String, Anything, ReadOnly, Pending(SASL),
        "Where the keys are that sign tokens.";
    "sasl.oauthbearer.expected.audience": List = "", Anything, ReadOnly, Pending(SASL),
        "Audiences a token may name.";
    "sasl.oauthbearer.expected.issuer": String, Anything, ReadOnly, Pending(SASL),
        "Issuer a token must name.";
    "sasl.oauthbearer.scope.claim.name": String = "scope", Anything, ReadOnly, Pending(SASL),
        "Claim of a token that holds the scope.";
    "sasl.oauthbearer.sub.claim.name": String = "sub", Anything, ReadOnly, Pending(SASL),
        "Claim of a token that holds the principal.";
    "sasl.oauthbearer.clock.skew.seconds": Int = "30", Anything, ReadOnly, Pending(SASL),
        "How far the clocks of issuer and broker may differ.";
    "sasl.kerberos.service.name": String, Anything, PerBroker, Refused("Kerberos is not supported"),
        "Name of the Kerberos service.";
    "ssl.keystore.type": String = "JKS", Anything, PerBroker, Pending(TLS),
        "Format of the key store.";
    "ssl.keystore.location": String, Anything, PerBroker, Pending(TLS),
        "File of the key store.";
    "ssl.keystore.password": Password, Anything, PerBroker, Pending(TLS),
        "Password of the key store.";
    "ssl.key.password": Password, Anything, PerBroker, Pending(TLS),
        "Password of the private key.";
    "ssl.keystore.key": Password, Anything, PerBroker, Pending(TLS),
        "Private key, as PEM text.";
    "ssl.keystore.certificate.chain": Password, Anything, PerBroker, Pending(TLS),
        "Certificates of the broker, as PEM text.";
    "ssl.truststore.location": String, Anything, PerBroker, Pending(TLS),
        "File of the trust store.";
    "ssl.truststore.password": Password, Anything, PerBroker, Pending(TLS),
        "Password of the trust store.";
    "ssl.truststore.type": String = "JKS", Anything, PerBroker, Pending(TLS),
        "Format of the trust store.";
    "ssl.truststore.certificates": Password, Anything, PerBroker, Pending(TLS),
        "Trusted certificates, as PEM text.";
    "ssl.client.auth": String = "none", OneOf(&["required", "requested", "none"]), PerBroker, Pending(TLS),
        "Whether clients show a certificate.";
    "ssl.enabled.protocols": List = "TLSv1.2,TLSv1.3", Anything, PerBroker, Pending(TLS),
        "TLS versions that are offered.";
    "ssl.protocol": String = "TLSv1.3", Anything, PerBroker, Pending(TLS),
        "TLS version of outgoing connections.";
    "ssl.cipher.suites": List = "", Anything, PerBroker, Pending(TLS),
        "Cipher suites that are offered, by their Java names; empty is all good ones.";
    "ssl.endpoint.identification.algorithm": String = "https", Anything, PerBroker, Pending(TLS),
        "How host names are checked; empty switches the check off.";
    "ssl.principal.mapping.rules": String = "DEFAULT", Anything, ReadOnly, Pending(TLS),
        "Rules that turn a certificate's name into a principal.";
    "ssl.allow.dn.changes": Boolean = "false", Anything, ReadOnly, Pending(TLS),
        "Whether a reloaded certificate may have another subject.";
    "ssl.allow.san.changes": Boolean = "false", Anything, ReadOnly, Pending(TLS),
        "Whether a reloaded certificate may have other alternative names.";
    "ssl.engine.factory.class": Class, Anything, PerBroker, Refused(JVM),
        "Java class that makes TLS sessions.";
    "ssl.keymanager.algorithm": String = "SunX509", Anything, PerBroker, Accepted,
        "Algorithm of Java's key manager.";
    "ssl.trustmanager.algorithm": String = "PKIX", Anything, PerBroker, Accepted,
        "Algorithm of Java's trust manager.";
    "ssl.provider": String, Anything, PerBroker, Accepted,
        "Java's security provider for TLS.";
    "ssl.secure.random.implementation": String, Anything, PerBroker, Accepted,
        "Java's source of randomness for TLS.";
    "security.providers": String, Anything, ReadOnly, Refused(JVM),
        "Java classes that add security algorithms.";
    "delegation.token.secret.key": Password, Anything, ReadOnly, Pending(TOKENS),
        "Secret that signs delegation tokens.";
    "delegation.token.max.lifetime.ms": Long = "604800000", Allowed::at_least(1), ReadOnly, Pending(TOKENS),
        "The longest life of a delegation token.";
    "delegation.token.expiry.time.ms": Long = "86400000", Allowed::at_least(1), ReadOnly, Pending(TOKENS),
        "Life of a delegation token that is not renewed.";
    "delegation.token.expiry.check.interval.ms": Long = "3600000", Allowed::at_least(1), ReadOnly, Accepted,
        "How often expired delegation tokens are looked for.";
    "create.topic.policy.class.name": Class, Anything, ReadOnly, Refused(JVM),
        "Java class that may refuse a new topic.";
    "alter.config.policy.class.name": Class, Anything, ReadOnly, Refused(JVM),
        "Java class that may refuse a change of settings.";
};
