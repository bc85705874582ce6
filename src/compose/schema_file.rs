//! The keys of a whole compose file beside its services: networks, volumes, secrets, configs, includes.

use super::schema::{Items, Keys, Kind, Object, Others, Rule};
use super::schema_rules::{BOOL, OPTIONS, PAIRS, SERVICE, STR, STR_OR_STRS, object};

use Kind::Null;

const EXTERNAL: Rule = Rule::Either(&[BOOL, Rule::Object(&object(&[("name", STR)]))]);

const NETWORK: Rule = Rule::Either(&[
    Rule::Type(&[Null]),
    Rule::Object(&object(&[
        ("name", STR),
        ("driver", STR),
        ("driver_opts", OPTIONS),
        (
            "ipam",
            Rule::Object(&object(&[
                ("driver", STR),
                (
                    "config",
                    Rule::List(
                        &Rule::Object(&object(&[
                            ("subnet", STR),
                            ("ip_range", STR),
                            ("gateway", STR),
                            ("aux_addresses", Rule::Dict(Keys::Any, &STR)),
                        ])),
                        Items::Any,
                    ),
                ),
                ("options", Rule::Dict(Keys::Any, &STR)),
            ])),
        ),
        ("external", EXTERNAL),
        ("internal", BOOL),
        ("enable_ipv4", BOOL),
        ("enable_ipv6", BOOL),
        ("attachable", BOOL),
        ("labels", PAIRS),
    ])),
]);

const VOLUME: Rule = Rule::Either(&[
    Rule::Type(&[Null]),
    Rule::Object(&object(&[
        ("name", STR),
        ("driver", STR),
        ("driver_opts", OPTIONS),
        ("external", EXTERNAL),
        ("labels", PAIRS),
    ])),
]);

const EXTERNAL_FILE: Rule =
    Rule::Either(&[BOOL, Rule::Object(&Object { keys: &[("name", STR)], required: &[], others: Others::Ignored })]);

const SECRET: Rule = Rule::Object(&object(&[
    ("name", STR),
    ("environment", STR),
    ("file", STR),
    ("external", EXTERNAL_FILE),
    ("labels", PAIRS),
    ("driver", STR),
    ("driver_opts", OPTIONS),
    ("template_driver", STR),
]));

const CONFIG: Rule = Rule::Object(&object(&[
    ("name", STR),
    ("content", STR),
    ("environment", STR),
    ("file", STR),
    ("external", EXTERNAL_FILE),
    ("labels", PAIRS),
    ("template_driver", STR),
]));

/// A whole compose file.
pub(super) const FILE: Rule = Rule::Object(&object(&[
    ("version", STR),
    ("name", STR),
    (
        "include",
        Rule::List(
            &Rule::Either(&[
                STR,
                Rule::Object(&Object {
                    keys: &[("path", STR_OR_STRS), ("env_file", STR_OR_STRS), ("project_directory", STR)],
                    required: &[],
                    others: Others::Refused,
                }),
            ]),
            Items::Any,
        ),
    ),
    ("services", Rule::Dict(Keys::Name, &Rule::Object(&SERVICE))),
    ("networks", Rule::Dict(Keys::NameElseIgnored, &NETWORK)),
    ("volumes", Rule::Dict(Keys::Name, &VOLUME)),
    ("secrets", Rule::Dict(Keys::Name, &SECRET)),
    ("configs", Rule::Dict(Keys::Name, &CONFIG)),
]));
