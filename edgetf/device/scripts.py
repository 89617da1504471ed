"""What runs on a device besides the runner: small POSIX shell scripts, and one in Python, which take arguments.

They are given to `sh -c` with their arguments apart, so that no name is ever read as a part of a script.
"""

PREPARE = 'mkdir -p "$1/store" "$1/jobs" && cd "$1" && pwd -P'

# the digests, of those given with their sizes, that the store does not have; the others are marked as used today
MISSING = """
cd "$1" || exit 1; shift
while [ $# -gt 1 ]; do
  if [ -f "$1" ] && [ "$(wc -c < "$1")" -eq "$2" ]; then touch "$1"; else echo "$1"; fi
  shift 2
done
"""

# takes a file from standard input, and keeps it when it has the digest that it should have
RECEIVE = """
cd "$1" || exit 1
found=$( (tee ".$2" || echo full) | sha256sum | cut -d " " -f 1)
if [ "$found" = "$2" ]; then mv ".$2" "$2"; else echo "its digest is $found, not $2" >&2; exit 1; fi
"""

# starts the runner once, detached, with the job of $3 bytes from standard input
START = """
mkdir -p "$1/out" && cd "$1" || exit 1
if [ ! -f pid ]; then
  cat > job.json && [ "$(wc -c < job.json)" -eq "$3" ] || { echo "the job is not whole" >&2; exit 1; }
  setsid nohup sh -c "$2" > /dev/null 2>&1 < /dev/null &
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -s pid ] && break; sleep 0.1; done
fi
"""

# (dash's own kill knows `-s 0 -- -PID`, and neither `-0 -- -PID` nor `-9 -- -PID`)
# `runs JOB`: its runner lives, and was started since the system was; `end JOB`: kill it if so, and remove the folder
KILL = """
runs() {
  [ -s "$1/pid" ] && [ ! -f "$1/code" ] && read -r pid boot < "$1/pid" || return 1
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && kill -s 0 -- "-$pid" 2>/dev/null
}
end() { runs "$1" && kill -s KILL -- "-$pid" 2>/dev/null; rm -rf "$1"; }
"""

SWEEP = (
    KILL
    + """
for job in "$1"/jobs/*/; do [ -d "$job" ] && end "${job%/}"; done
find "$1/store" -type f \\( -name ".*" -o -mtime +"$2" \\) -exec rm -f {} +
"""
)

# holds a lock while lines come from standard input, that is, while the connection lives
HOLD = """
import fcntl, os, select, sys
os.makedirs(sys.argv[1], exist_ok=True)
lock = open(os.path.join(sys.argv[1], "lock"), "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(print("taken"))
print("held", flush=True)
while select.select([0], [], [], float(sys.argv[2]))[0] and os.read(0, 4096):
    pass
"""
