//! The gateway: routes calls, moderates both directions under a policy, keeps the audit trail.
