//! Where this kernel keeps what the programs look at in its structures.

use crate::btf::Btf;

/// The kernel's own types.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Bytes from the start of the structures; 0 where this kernel does not say or does not have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `sock.sk_user_data`.
    pub sk_user_data: u64,
    /// `sk_psock.msg_tot_len`.
    pub psock_queued: u64,
    /// `sk_psock.ingress_msg`.
    pub psock_queue: u64,
    /// `sock.__sk_common.skc_cookie`.
    pub sk_cookie: u64,
    /// `tcp_sock.write_seq`.
    pub write_seq: u64,
    /// `tcp_sock.copied_seq`.
    pub copied_seq: u64,
    /// `sock.__sk_common.skc_flags`.
    pub sk_flags: u64,
    /// The bit `SOCK_ZEROCOPY` of it.
    pub zero_copy: u64,
}

/// Reads the kernel's types.
pub fn read() -> Offsets {
    let Ok(bytes) = std::fs::read(KERNEL) else {
        return Offsets::default();
    };
    let Some(btf) = Btf::parse(&bytes) else {
        return Offsets::default();
    };
    let offset = |structure, path: &[&str]| btf.offset(structure, path).map_or(0, u64::from);
    let mut offsets = Offsets {
        sk_user_data: offset("sock", &["sk_user_data"]),
        psock_queued: offset("sk_psock", &["msg_tot_len"]),
        psock_queue: offset("sk_psock", &["ingress_msg"]),
        sk_cookie: offset("sock", &["__sk_common", "skc_cookie"]),
        write_seq: offset("tcp_sock", &["write_seq"]),
        copied_seq: offset("tcp_sock", &["copied_seq"]),
        sk_flags: offset("sock", &["__sk_common", "skc_flags"]),
        zero_copy: btf
            .enumerator("sock_flags", "SOCK_ZEROCOPY")
            .and_then(|bit| 1_u64.checked_shl(bit))
            .unwrap_or(0),
    };
    // Those that are used together are known together or not at all.
    if offsets.sk_user_data == 0 || offsets.sk_cookie == 0 {
        offsets.psock_queued = 0;
        offsets.psock_queue = 0;
    }
    if offsets.copied_seq == 0 {
        offsets.write_seq = 0;
    }
    if offsets.sk_flags == 0 {
        offsets.zero_copy = 0;
    }
    offsets
}
