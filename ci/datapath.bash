# What the scripts share that run the agent: root, tools, cgroups, and an end that leaves nothing.
# To be sourced, with `name` set to the script's name and `root` to the project's folder.
#
#   TWINMESH_AGENT, TWINMESH_LOAD   binaries to use in place of those that are built

readonly run_id=tm-$name-$$
work=
cgroup_root=
children=()
cgroups=()
namespaces=()
mounted=
bpf=

say() { printf '%s: %s\n' "$name" "$*" >&2; }
fail() { say "$2"; exit "$1"; }

# Ends what was started, by its pid, and removes what was made; whatever the reason for the end.
clean_up() {
    local code=$? pid group space i
    trap - EXIT INT TERM
    for pid in "${children[@]}"; do kill "$pid" 2> /dev/null || true; done
    for i in {1..50}; do
        local alive=0
        for pid in "${children[@]}"; do kill -0 "$pid" 2> /dev/null && alive=1; done
        ((alive)) || break
        sleep 0.1
    done
    for pid in "${children[@]}"; do
        kill -0 "$pid" 2> /dev/null || continue
        say "process $pid does not end by SIGTERM within five seconds; killing it"
        kill -KILL "$pid" 2> /dev/null || true
    done
    if [[ -n $bpf ]]; then
        # What an agent that was killed has left.
        "$agent" detach --keep-folder "$work/kept" --pins "$bpf/twinmesh" > /dev/null 2>&1 || true
        umount "$bpf"
    fi
    for space in "${namespaces[@]}"; do ip netns delete "$space" 2> /dev/null || true; done
    for group in "${cgroups[@]}"; do
        for i in {1..20}; do rmdir "$group" 2> /dev/null && break; sleep 0.1; done
        [[ ! -d $group ]] || say "the cgroup $group is still there"
    done
    [[ -z $mounted ]] || { umount "$mounted" && rmdir "$mounted"; }
    [[ -z $work ]] || rm -rf "$work"
    exit "$code"
}

begin() {
    [[ $EUID -eq 0 ]] || fail 2 "needs root: BPF programs, cgroups and network namespaces"
    work=$(mktemp -d "${TMPDIR:-/tmp}/$run_id.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    cgroup_root=$(findmnt -n -t cgroup2 -o TARGET | head -n 1 || true)
    if [[ -z $cgroup_root ]]; then
        mounted=$(mktemp -d "${TMPDIR:-/tmp}/$run_id-cgroup.XXXXXX")
        mount -t cgroup2 none "$mounted" || fail 2 "cgroup v2 cannot be mounted on this machine"
        cgroup_root=$mounted
    fi
}

# Installs Debian packages by the commands that they bring: `install_missing wrk=wrk ip=iproute2`.
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" > /dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

# Builds the agent and the load generator, and further packages: `build [-p PACKAGE]…`. All in one
# call, as cargo builds dependencies anew for other sets of packages.
build() {
    agent=${TWINMESH_AGENT:-} load=${TWINMESH_LOAD:-}
    local packages=("$@")
    [[ -n $agent ]] || packages+=(-p twinmesh-agent)
    [[ -n $load ]] || packages+=(-p twinmesh-load)
    if ((${#packages[@]})); then
        say "building ${packages[*]}"
        cargo build --release --manifest-path "$root/Cargo.toml" "${packages[@]}" >&2 || fail 2 "the build failed"
    fi
    local target=${CARGO_TARGET_DIR:-$root/target}/release
    agent=${agent:-$target/twinmesh-agent}
    load=${load:-$target/twinmesh-load}
}

# A cgroup of this run: `make_cgroup NAME`; its path in $cgroup.
make_cgroup() {
    cgroup=$cgroup_root/$run_id-$1
    mkdir "$cgroup"
    cgroups+=("$cgroup")
}

# A BPF file system of this run; its path in $bpf. An agent of this run that uses it keeps the rest in
# $work/kept.
mount_bpf() {
    mkdir "$work/bpf"
    mount -t bpf bpf "$work/bpf" || fail 2 "a BPF file system cannot be mounted on this machine"
    bpf=$work/bpf
}

# Runs a command in a cgroup: `in_cgroup PATH COMMAND…`.
in_cgroup() {
    bash -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' in_cgroup "$@"
}

# Starts a command that is ended with the script; its pid in $started, its output in $work/NAME.log.
start() {
    local label=$1
    shift
    "$@" > "$work/$label.log" 2>&1 &
    started=$!
    # The shell is not to report its end.
    disown "$started"
    children+=("$started")
}

# Ends one of them: `stop PID [SIGNAL]`.
stop() {
    local i
    kill "-${2:-TERM}" "$1" 2> /dev/null || true
    for i in {1..100}; do
        kill -0 "$1" 2> /dev/null || break
        sleep 0.1
    done
    if kill -0 "$1" 2> /dev/null; then
        say "process $1 does not end within ten seconds; killing it"
        kill -KILL "$1"
    fi
    local left=() pid
    for pid in "${children[@]}"; do [[ $pid == "$1" ]] || left+=("$pid"); done
    children=("${left[@]}")
}

# Waits until a command succeeds, ten seconds at most: `wait_for WHAT COMMAND…`.
wait_for() {
    local what=$1 i
    shift
    for i in {1..200}; do
        "$@" > /dev/null 2>&1 && return 0
        sleep 0.05
    done
    say "$what did not come up in ten seconds"
    tail -n 5 "$work"/*.log >&2 || true
    exit 1
}
