"""Scripts that run on a device in addition to the runner: small POSIX shell scripts and one in Python, with arguments.

They are given to `sh -c` with separate arguments, so that no name is ever read as a part of a script. Each may run
twice, even at the same time: if the connection is lost, it is unknown whether the script ended, and it starts over.
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
part=".$2.$$"
found=$( (tee "$part" || echo full) | sha256sum | cut -d " " -f 1)
if [ "$found" = "$2" ]; then mv -f "$part" "$2"; else rm -f "$part"; echo "its digest is $found, not $2" >&2; exit 1; fi
"""

# keeps the file .DIGEST.* that was sent as $3 when it has the digest $2; it may have been done before
STORED = """
cd "$1" || exit 1
file=$3; [ -f "$file" ] || file=$2
[ -f "$file" ] || { echo "the file did not arrive" >&2; exit 1; }
found=$(sha256sum "$file" | cut -d " " -f 1)
[ "$found" = "$2" ] || { rm -f "$file"; echo "its digest is $found, not $2" >&2; exit 1; }
[ "$file" = "$2" ] || mv -f "$file" "$2"
touch "$2"
"""

# starts the runner once, detached, with the job of $3 bytes from standard input. Whichever of two is first to make the
# folder `begun` is the one; `ballast` reserves space for messages on a full disk
START = """
mkdir -p "$1/out" && cd "$1" || exit 1
if [ ! -d begun ]; then
  part="job.$$"
  cat > "$part" || { rm -f "$part"; exit 1; }
  [ "$(wc -c < "$part")" -eq "$3" ] || { rm -f "$part"; echo "the job is not whole" >&2; exit 1; }
  mv -f "$part" job.json
  [ -f ballast ] || head -c 65536 /dev/zero > ballast 2> /dev/null
  setsid nohup sh -c "mkdir begun 2> /dev/null || exit 0; $2" > /dev/null 2>&1 < /dev/null &
fi
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -s pid ] && break; sleep 0.1; done
exit 0
"""

# what the detached shell does about the command {}: where it can be found, and how it ended
INSIDE = (
    "echo $$ $(cat /proc/sys/kernel/random/boot_id) > pid; {}; code=$?; "
    "df -Pk . | tail -n 1 > free; rm -f ballast; [ -s free ] || df -Pk . | tail -n 1 > free; "
    "echo $code > code.part; mv -f code.part code"
)

# the KiB that are free for the folder $1, or for the nearest above it
FREE = """
p=$1; while [ ! -d "$p" ]; do n=$(dirname "$p"); [ "$n" = "$p" ] && break; p=$n; done
df -Pk "$p" 2> /dev/null | tail -n 1 | tr -s " " | cut -d " " -f 4
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

KEPT_DAYS = 30  # files in the store that nothing has used for so long are removed

SWEEP = (
    KILL
    + """
for job in "$1"/jobs/*/; do [ -d "$job" ] && end "${job%/}"; done
find "$1/store" -type f \\( -name ".*" -o -mtime +"$2" \\) -exec rm -f {} +
"""
)

# holds a lock while lines come from standard input, that is, while the connection lives; the third argument names the
# holder, for others. Prints "held" as soon as it does, "taken" and the other's name before, and waits with "wait"
HOLD = """
import fcntl, os, select, sys, time
folder, silence, holder, how = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]
os.makedirs(folder, exist_ok=True)
lock = open(os.path.join(folder, "lock"), "a+")
known, heard = None, time.monotonic()
while True:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except OSError:
        pass
    lock.seek(0)
    other = lock.read(4096).split("\\n")[0]
    if other != known:
        print("taken " + other, flush=True)
        known = other
    if how != "wait" or time.monotonic() - heard > silence:
        sys.exit()
    if select.select([0], [], [], 0.5)[0]:
        if not os.read(0, 4096):
            sys.exit()
        heard = time.monotonic()
lock.truncate(0)
lock.write(holder)
lock.flush()
print("held", flush=True)
while select.select([0], [], [], silence)[0] and os.read(0, 4096):
    pass
lock.truncate(0)
"""
