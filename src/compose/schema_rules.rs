//! The keys of a service and what each may hold (Compose specification, as Compose 2.26 of Debian 13 enforces it).

use super::schema::{Items, Keys, Kind, Object, Others, Rule};

use Kind::{Bool, Int, Null, Num, Str};

pub(super) const STR: Rule = Rule::Type(&[Str]);
pub(super) const BOOL: Rule = Rule::Type(&[Bool, Str]);
const INT: Rule = Rule::Type(&[Int, Str]);
const NUM: Rule = Rule::Type(&[Num, Str]);
const STRS: Rule = Rule::List(&STR, Items::Unique);
const STRS_REPEATED: Rule = Rule::List(&STR, Items::Any);
pub(super) const STR_OR_STRS: Rule = Rule::Either(&[STR, STRS]);
pub(super) const PAIRS: Rule =
    Rule::Either(&[Rule::Dict(Keys::Any, &Rule::Type(&[Str, Num, Bool, Null])), Rule::List(&STR, Items::Unique)]);
pub(super) const OPTIONS: Rule = Rule::Dict(Keys::Any, &Rule::Type(&[Str, Num]));
const COMMAND: Rule = Rule::Either(&[Rule::Type(&[Null, Str]), STRS_REPEATED]);
const EXTRA_HOSTS: Rule =
    Rule::Either(&[Rule::Dict(Keys::Any, &Rule::Either(&[STR, STRS_REPEATED])), Rule::List(&STR, Items::Unique)]);

/// A mapping with these keys and `x-...`.
pub(super) const fn object(keys: &'static [(&'static str, Rule)]) -> Object {
    Object { keys, required: &[], others: Others::Extensions }
}

const ULIMITS: Rule = Rule::Dict(
    Keys::LowerElseIgnored,
    &Rule::Either(&[
        INT,
        Rule::Object(&Object {
            keys: &[("hard", INT), ("soft", INT)],
            required: &["soft", "hard"],
            others: Others::Extensions,
        }),
    ]),
);

const FILE_MOUNTS: Rule = Rule::List(
    &Rule::Either(&[
        STR,
        Rule::Object(&object(&[("source", STR), ("target", STR), ("uid", STR), ("gid", STR), ("mode", NUM)])),
    ]),
    Items::Any,
);

const HOOK: Rule = Rule::Object(&object(&[
    ("command", COMMAND),
    ("user", STR),
    ("privileged", BOOL),
    ("working_dir", STR),
    ("environment", PAIRS),
]));

const BUILD: Rule = Rule::Either(&[
    STR,
    Rule::Object(&object(&[
        ("context", STR),
        ("dockerfile", STR),
        ("dockerfile_inline", STR),
        ("entitlements", STRS_REPEATED),
        ("args", PAIRS),
        ("ssh", PAIRS),
        ("labels", PAIRS),
        ("cache_from", STRS_REPEATED),
        ("cache_to", STRS_REPEATED),
        ("no_cache", BOOL),
        ("additional_contexts", PAIRS),
        ("network", STR),
        ("pull", BOOL),
        ("target", STR),
        ("shm_size", INT),
        ("extra_hosts", EXTRA_HOSTS),
        ("isolation", STR),
        ("privileged", BOOL),
        ("secrets", FILE_MOUNTS),
        ("tags", STRS_REPEATED),
        ("ulimits", ULIMITS),
        ("platforms", STRS_REPEATED),
    ])),
]);

const BLKIO_LIMITS: Rule = Rule::List(
    &Rule::Object(&Object { keys: &[("path", STR), ("rate", INT)], required: &[], others: Others::Refused }),
    Items::Any,
);

const BLKIO: Rule = Rule::Object(&Object {
    keys: &[
        ("device_read_bps", BLKIO_LIMITS),
        ("device_read_iops", BLKIO_LIMITS),
        ("device_write_bps", BLKIO_LIMITS),
        ("device_write_iops", BLKIO_LIMITS),
        ("weight", INT),
        (
            "weight_device",
            Rule::List(
                &Rule::Object(&Object {
                    keys: &[("path", STR), ("weight", INT)],
                    required: &[],
                    others: Others::Refused,
                }),
                Items::Any,
            ),
        ),
    ],
    required: &[],
    others: Others::Refused,
});

const DEPENDS_ON: Rule = Rule::Either(&[
    STRS,
    Rule::Dict(
        Keys::Name,
        &Rule::Object(&Object {
            keys: &[
                ("restart", BOOL),
                ("required", Rule::Type(&[Bool])),
                ("condition", Rule::Enum(&["service_started", "service_healthy", "service_completed_successfully"])),
            ],
            required: &["condition"],
            others: Others::Extensions,
        }),
    ),
]);

const DEVICES: Rule = Rule::List(
    &Rule::Either(&[
        STR,
        Rule::Object(&Object {
            keys: &[("source", STR), ("target", STR), ("permissions", STR)],
            required: &["source"],
            others: Others::Extensions,
        }),
    ]),
    Items::Any,
);

const DEVICE_REQUEST_KEYS: &[(&str, Rule)] =
    &[("capabilities", STRS), ("count", INT), ("device_ids", STRS), ("driver", STR), ("options", PAIRS)];

const GPUS: Rule = Rule::Either(&[
    Rule::Enum(&["all"]),
    Rule::List(
        &Rule::Object(&Object { keys: DEVICE_REQUEST_KEYS, required: &[], others: Others::Refused }),
        Items::Any,
    ),
]);

const UPDATE_CONFIG: Rule = Rule::Object(&object(&[
    ("parallelism", INT),
    ("delay", STR),
    ("failure_action", STR),
    ("monitor", STR),
    ("max_failure_ratio", NUM),
    ("order", Rule::Enum(&["start-first", "stop-first"])),
]));

const GENERIC_RESOURCES: Rule = Rule::List(
    &Rule::Object(&object(&[("discrete_resource_spec", Rule::Object(&object(&[("kind", STR), ("value", NUM)])))])),
    Items::Any,
);

const RESOURCES: Rule = Rule::Object(&object(&[
    ("limits", Rule::Object(&object(&[("cpus", NUM), ("memory", STR), ("pids", INT)]))),
    (
        "reservations",
        Rule::Object(&object(&[
            ("cpus", NUM),
            ("memory", STR),
            ("generic_resources", GENERIC_RESOURCES),
            (
                "devices",
                Rule::List(
                    &Rule::Object(&Object {
                        keys: DEVICE_REQUEST_KEYS,
                        required: &["capabilities"],
                        others: Others::Extensions,
                    }),
                    Items::Any,
                ),
            ),
        ])),
    ),
]));

const DEPLOY: Rule = Rule::Either(&[
    Rule::Type(&[Null]),
    Rule::Object(&object(&[
        ("mode", STR),
        ("endpoint_mode", STR),
        ("replicas", INT),
        ("labels", PAIRS),
        ("rollback_config", UPDATE_CONFIG),
        ("update_config", UPDATE_CONFIG),
        ("resources", RESOURCES),
        (
            "restart_policy",
            Rule::Object(&object(&[("condition", STR), ("delay", STR), ("max_attempts", INT), ("window", STR)])),
        ),
        (
            "placement",
            Rule::Object(&object(&[
                ("constraints", STRS_REPEATED),
                ("preferences", Rule::List(&Rule::Object(&object(&[("spread", STR)])), Items::Any)),
                ("max_replicas_per_node", INT),
            ])),
        ),
    ])),
]);

const DEVELOP: Rule = Rule::Either(&[
    Rule::Type(&[Null]),
    Rule::Object(&object(&[(
        "watch",
        Rule::List(
            &Rule::Object(&Object {
                keys: &[
                    ("ignore", STRS_REPEATED),
                    ("path", STR),
                    ("action", Rule::Enum(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
                    ("target", STR),
                    ("exec", HOOK),
                ],
                required: &["path", "action"],
                others: Others::Extensions,
            }),
            Items::Any,
        ),
    )])),
]);

const ENV_FILE: Rule = Rule::Either(&[
    STR,
    Rule::List(
        &Rule::Either(&[
            STR,
            Rule::Object(&Object {
                keys: &[("path", STR), ("format", STR), ("required", BOOL)],
                required: &["path"],
                others: Others::Refused,
            }),
        ]),
        Items::Any,
    ),
]);

const EXTENDS: Rule = Rule::Either(&[
    STR,
    Rule::Object(&Object { keys: &[("service", STR), ("file", STR)], required: &["service"], others: Others::Refused }),
]);

const HEALTHCHECK: Rule = Rule::Object(&object(&[
    ("disable", BOOL),
    ("interval", STR),
    ("retries", NUM),
    ("test", Rule::Either(&[STR, STRS_REPEATED])),
    ("timeout", STR),
    ("start_period", STR),
    ("start_interval", STR),
]));

const LOGGING: Rule =
    Rule::Object(&object(&[("driver", STR), ("options", Rule::Dict(Keys::Any, &Rule::Type(&[Str, Num, Null])))]));

const SERVICE_NETWORKS: Rule = Rule::Either(&[
    STRS,
    Rule::Dict(
        Keys::Name,
        &Rule::Either(&[
            Rule::Type(&[Null]),
            Rule::Object(&object(&[
                ("aliases", STRS),
                ("ipv4_address", STR),
                ("ipv6_address", STR),
                ("link_local_ips", STRS),
                ("mac_address", STR),
                ("driver_opts", OPTIONS),
                ("priority", Rule::Type(&[Num])),
                ("gw_priority", Rule::Type(&[Num])),
            ])),
        ]),
    ),
]);

const PORTS: Rule = Rule::List(
    &Rule::Either(&[
        NUM,
        Rule::Object(&object(&[
            ("name", STR),
            ("mode", STR),
            ("host_ip", STR),
            ("target", INT),
            ("published", INT),
            ("protocol", STR),
            ("app_protocol", STR),
        ])),
    ]),
    Items::Unique,
);

const VOLUMES: Rule = Rule::List(
    &Rule::Either(&[
        STR,
        Rule::Object(&Object {
            keys: &[
                ("type", STR),
                ("source", STR),
                ("target", STR),
                ("read_only", BOOL),
                ("consistency", STR),
                (
                    "bind",
                    Rule::Object(&object(&[
                        ("propagation", STR),
                        ("create_host_path", BOOL),
                        ("recursive", Rule::Enum(&["enabled", "disabled", "writable", "readonly"])),
                        ("selinux", Rule::Enum(&["z", "Z"])),
                    ])),
                ),
                ("volume", Rule::Object(&object(&[("nocopy", BOOL), ("subpath", STR)]))),
                ("tmpfs", Rule::Object(&object(&[("size", Rule::Range(0, i64::MAX)), ("mode", NUM)]))),
            ],
            required: &["type"],
            others: Others::Extensions,
        }),
    ]),
    Items::Unique,
);

/// A service.
pub(super) const SERVICE: Object = object(&[
    ("annotations", PAIRS),
    ("attach", BOOL),
    ("blkio_config", BLKIO),
    ("build", BUILD),
    ("cap_add", STRS),
    ("cap_drop", STRS),
    ("cgroup", Rule::Enum(&["host", "private"])),
    ("cgroup_parent", STR),
    ("command", COMMAND),
    ("configs", FILE_MOUNTS),
    ("container_name", STR),
    ("cpu_count", Rule::Range(0, i64::MAX)),
    ("cpu_percent", Rule::Either(&[Rule::Range(0, 100), Rule::Type(&[Num])])),
    ("cpu_period", NUM),
    ("cpu_quota", NUM),
    ("cpu_rt_period", NUM),
    ("cpu_rt_runtime", NUM),
    ("cpu_shares", NUM),
    ("cpus", NUM),
    ("cpuset", STR),
    ("credential_spec", Rule::Object(&object(&[("config", STR), ("file", STR), ("registry", STR)]))),
    ("depends_on", DEPENDS_ON),
    ("deploy", DEPLOY),
    ("develop", DEVELOP),
    ("device_cgroup_rules", STRS),
    ("devices", DEVICES),
    ("dns", STR_OR_STRS),
    ("dns_opt", STRS),
    ("dns_search", STR_OR_STRS),
    ("domainname", STR),
    ("entrypoint", COMMAND),
    ("env_file", ENV_FILE),
    ("environment", PAIRS),
    ("expose", Rule::List(&NUM, Items::Unique)),
    ("extends", EXTENDS),
    ("external_links", STRS),
    ("extra_hosts", EXTRA_HOSTS),
    ("gpus", GPUS),
    ("group_add", Rule::List(&NUM, Items::Unique)),
    ("healthcheck", HEALTHCHECK),
    ("hostname", STR),
    ("image", STR),
    ("init", BOOL),
    ("ipc", STR),
    ("isolation", STR),
    ("label_file", Rule::Either(&[STR, STRS_REPEATED])),
    ("labels", PAIRS),
    ("links", STRS),
    ("logging", LOGGING),
    ("mac_address", STR),
    ("mem_limit", NUM),
    ("mem_reservation", INT),
    ("mem_swappiness", INT),
    ("memswap_limit", NUM),
    ("network_mode", STR),
    ("networks", SERVICE_NETWORKS),
    ("oom_kill_disable", BOOL),
    ("oom_score_adj", Rule::Range(-1000, 1000)),
    ("pid", Rule::Type(&[Str, Null])),
    ("pids_limit", NUM),
    ("platform", STR),
    ("ports", PORTS),
    ("post_start", Rule::List(&HOOK, Items::Any)),
    ("pre_stop", Rule::List(&HOOK, Items::Any)),
    ("privileged", BOOL),
    ("profiles", STRS),
    ("pull_policy", Rule::Enum(&["always", "never", "if_not_present", "build", "missing"])),
    ("read_only", BOOL),
    ("restart", STR),
    ("runtime", STR),
    ("scale", INT),
    ("secrets", FILE_MOUNTS),
    ("security_opt", STRS),
    ("shm_size", NUM),
    ("stdin_open", BOOL),
    ("stop_grace_period", STR),
    ("stop_signal", STR),
    ("storage_opt", Rule::Dict(Keys::Any, &Rule::Any)),
    ("sysctls", PAIRS),
    ("tmpfs", STR_OR_STRS),
    ("tty", BOOL),
    ("ulimits", ULIMITS),
    ("user", STR),
    ("userns_mode", STR),
    ("uts", STR),
    ("volumes", VOLUMES),
    ("volumes_from", STRS),
    ("working_dir", STR),
]);
