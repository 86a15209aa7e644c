//! What a file leaves out, says in old words, or says of a cluster: filled in, understood, refused.
//!
//! It looks at keys together; single values were checked before.

use super::{Load, NoteKind, Origin, Setting};

impl Load {
    /// Fills in what old files say in other words, and what Kafka would insist on.
    pub(super) fn complete(&mut self, has_file: bool) {
        let broker_id = self
            .settings
            .find("broker.id")
            .filter(|id| id.text != "-1")
            .cloned();
        let node_id = self.settings.find("node.id").cloned();
        match (node_id, broker_id) {
            (Some(node), Some(broker)) if node.text != broker.text => {
                let problem = format!(
                    "broker.id is {}; allowed: the same value, or one of the two",
                    broker.text
                );
                self.fault_of_value("node.id", &problem);
            }
            (None, Some(broker)) if broker.text.starts_with('-') => {
                self.fault_of_value("broker.id", "allowed: 0 or more, or -1");
            }
            (None, Some(broker)) => {
                self.settings.set("node.id", broker);
            }
            (Some(node), None) => {
                self.settings.remove("broker.id");
                self.settings.set("broker.id", node);
            }
            (Some(_), Some(_)) => {}
            (None, None) => self.preset("node.id", "1"),
        }
        self.preset("process.roles", "broker,controller");
        self.take_old_listener();
        if !has_file {
            self.preset("listeners", "PLAINTEXT://localhost:9092");
        }
        if self.settings.find("log.dir").is_none() {
            if !has_file {
                self.preset("log.dirs", "./data");
            } else if self.settings.find("log.dirs").is_none() {
                let advice = "not set: data goes to Kafka's default /tmp/kafka-logs, which many systems empty at start";
                self.note(NoteKind::Advice, "log.dirs", &Origin::Preset, advice);
            }
        }
    }

    fn preset(&mut self, key: &str, text: &str) {
        self.settings.set(
            key,
            Setting {
                text: text.to_owned(),
                origin: Origin::Preset,
            },
        );
    }

    /// `host.name` and `port` of files before Kafka 3.0; those of the environment are other programs'.
    fn take_old_listener(&mut self) {
        let in_file = |key: &str| {
            let setting = self.settings.find(key)?;
            matches!(setting.origin, Origin::File { .. } | Origin::Override)
                .then(|| setting.clone())
        };
        let (host, port) = (in_file("host.name"), in_file("port"));
        if self.settings.find("listeners").is_some() {
            return;
        }
        let Some(origin) = port
            .as_ref()
            .or(host.as_ref())
            .map(|setting| setting.origin.clone())
        else {
            return;
        };
        let host = host.map(|setting| setting.text).unwrap_or_default();
        let port = port.map_or_else(|| "9092".to_owned(), |setting| setting.text);
        let text = format!("PLAINTEXT://{host}:{port}");
        self.settings.set("listeners", Setting { text, origin });
    }

    /// An empty list is a slip (a template without its value), and must not send data to some default place.
    pub(super) fn check_directories(&mut self) {
        for key in ["log.dirs", "log.dir"] {
            let text = self.settings.text(key);
            if text.is_some_and(|text| text.split(',').all(|part| part.trim().is_empty())) {
                self.fault_of_value(key, "allowed: one directory or more");
            }
        }
    }

    /// Clusters come later: a file of a cluster's member must not start a lonely broker under the member's number.
    pub(super) fn check_roles(&mut self) {
        const ALONE: &str = "this node would belong to a cluster, and clusters come later; allowed: one controller, \
                             this node";
        let mut names_controllers = false;
        for key in [
            "controller.quorum.voters",
            "controller.quorum.bootstrap.servers",
        ] {
            let count = self.elements(key).count();
            names_controllers |= count > 0;
            if count > 1 {
                self.fault_of_value(key, ALONE);
            }
        }
        let voter = self
            .settings
            .text("controller.quorum.voters")
            .unwrap_or_default();
        let voter = voter.split_once('@').map(|(id, _)| id.trim().to_owned());
        if voter.is_some_and(|id| Some(id.as_str()) != self.settings.text("node.id")) {
            self.fault_of_value("controller.quorum.voters", ALONE);
        }
        let has_role = |role| {
            self.elements("process.roles")
                .any(|element| element == role)
        };
        let (is_broker, is_controller) = (has_role("broker"), has_role("controller"));
        if is_broker && !is_controller && names_controllers {
            let problem = "the controller would be another node, and clusters come later; allowed: \
                           broker,controller, or no address of a controller";
            self.fault_of_value("process.roles", problem);
            return;
        }
        let roles = self.settings.find("process.roles").cloned();
        if let Some(Setting { origin, .. }) = roles
            && !(is_broker && is_controller)
        {
            let advice = "this process is always broker and controller";
            self.note(NoteKind::Advice, "process.roles", &origin, advice);
        }
    }

    /// What stands in the list of a property.
    fn elements(&self, key: &str) -> impl Iterator<Item = &str> {
        let text = self.settings.text(key).unwrap_or_default();
        let elements = text.split(',').map(str::trim);
        elements.filter(|element| !element.is_empty())
    }

    /// Without logins everybody is User:ANONYMOUS, and without ACLs two other settings decide about everybody at once:
    /// where they let everybody in, an authorizer changes nothing; where they do not, nobody could do anything.
    pub(super) fn check_authorizer(&mut self) {
        const KEY: &str = "authorizer.class.name";
        let Some(Setting { text, origin }) = self.settings.find(KEY).cloned() else {
            return;
        };
        let is_known = super::table::find(KEY).is_some_and(|row| row.parse(&text).is_ok());
        if text.is_empty() || !is_known {
            return;
        }
        let users = self.settings.text("super.users").unwrap_or_default();
        let everybody_is_super = users.split(';').any(|user| user.trim() == "User:ANONYMOUS");
        let open = self.settings.text("allow.everyone.if.no.acl.found");
        let is_open = open.is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let reason = match (everybody_is_super, is_open) {
            (true, _) => "super.users has User:ANONYMOUS",
            (false, true) => "allow.everyone.if.no.acl.found is true",
            (false, false) => {
                let problem = "there are neither ACLs nor logins yet, so nobody could do anything; allowed: with \
                               User:ANONYMOUS in super.users, or with allow.everyone.if.no.acl.found=true, or no \
                               authorizer: each of them lets everybody do everything";
                self.fault_of_value(KEY, problem);
                return;
            }
        };
        let advice = format!(
            "everybody may do everything: there are neither ACLs nor logins yet, and {reason}"
        );
        self.note(NoteKind::Advice, KEY, &origin, advice);
    }
}
