//! What `build.rs` generates, one module per package and the wire flavour.
//!
//! Constraint: nothing here is written by hand; the comments come from the `.proto` files.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::cast_possible_truncation,
    clippy::large_futures,
    reason = "generated code: the oneof modules and service stubs have no comments, and its style is not ours"
)]

pub mod waypost {
    pub mod v1 {
        tonic::include_proto!("waypost.v1");
    }
}

pub mod logistics {
    pub mod v1 {
        tonic::include_proto!("logistics.v1");
    }
}

pub mod commerce {
    pub mod v1 {
        tonic::include_proto!("commerce.v1");
    }
}

pub mod github {
    pub mod v1 {
        tonic::include_proto!("github.v1");
    }
}

pub mod support {
    pub mod v1 {
        tonic::include_proto!("support.v1");
    }
}

pub mod ops {
    pub mod v1 {
        tonic::include_proto!("ops.v1");
    }
}

pub mod tasks {
    pub mod v1 {
        tonic::include_proto!("tasks.v1");
    }
}

pub mod stripe {
    pub mod v1 {
        tonic::include_proto!("stripe.v1");
    }
}

pub mod shopify {
    pub mod v1 {
        tonic::include_proto!("shopify.v1");
    }
}

pub mod slack {
    pub mod v1 {
        tonic::include_proto!("slack.v1");
    }
}

pub mod linear {
    pub mod v1 {
        tonic::include_proto!("linear.v1");
    }
}

pub mod jira {
    pub mod v1 {
        tonic::include_proto!("jira.v1");
    }
}

pub mod pagerduty {
    pub mod v1 {
        tonic::include_proto!("pagerduty.v1");
    }
}

pub mod sentry {
    pub mod v1 {
        tonic::include_proto!("sentry.v1");
    }
}

pub mod wire {
    // The generated types below take precedence over those of the glob.
    pub use crate::v1::*;

    include!(concat!(env!("OUT_DIR"), "/wire/waypost.v1.rs"));
}
