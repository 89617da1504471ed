#!/bin/bash
# An emulated Raspberry Pi 4: a Debian 12 arm64 userland under qemu-user (cortex-a72), behind an arm64 sshd on loopback.
# usage: emulated_pi.sh [up|down|status|destroy]      (default: up; safe to run again)
# env: PI_DIR (~/.cache/edgetf/emulated-pi)  PI_PORT (2222)  PI_CPU (cortex-a72)  PI_RUNTIME ("tflite-runtime==2.14.0 ai-edge-litert==2.3.0 numpy==1.26.4"; empty: none)
set -euo pipefail
PI_DIR=${PI_DIR:-$HOME/.cache/edgetf/emulated-pi}; PI_PORT=${PI_PORT:-2222}; PI_CPU=${PI_CPU:-cortex-a72}
PI_RUNTIME=${PI_RUNTIME-numpy==1.26.4 tflite-runtime==2.14.0 ai-edge-litert==2.3.0}
R=$PI_DIR/root; PIDF=$PI_DIR/pid; SSH="ssh -i $PI_DIR/id_ed25519 -p $PI_PORT -o UserKnownHostsFile=$PI_DIR/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes"
say() { echo "[emulated_pi] $*"; }
alive() { [ -s "$PIDF" ] && kill -0 "$(cat "$PIDF")" 2>/dev/null; }
down() { if alive; then kill -TERM "$(cat "$PIDF")"; for _ in $(seq 50); do alive || break; sleep 0.1; done; alive && kill -KILL "$(cat "$PIDF")"; fi; rm -f "$PIDF"; }
case ${1:-up} in
  down) down; say stopped; exit;;
  status) alive && say "up, pid $(cat "$PIDF")" || { say down; exit 1; }; exit;;
  destroy) down; findmnt -rn | grep -q " *$R" && { say "mounts left under $R"; exit 1; }; rm -rf "$PI_DIR"; say removed; exit;;
  up) ;;
  *) sed -n 2,5p "$0"; exit 2;;
esac
[ "$(id -u)" = 0 ] || { say "needs root"; exit 1; }
mkdir -p "$PI_DIR"
# 1. host tools
need=(); for p in qemu-user-static mmdebstrap openssh-client; do dpkg -s $p >/dev/null 2>&1 || need+=($p); done
if [ ${#need[@]} -gt 0 ]; then
  apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >"$PI_DIR/apt.log" 2>&1 || { tail "$PI_DIR/apt.log"; exit 1; }
fi
# 2. binfmt_misc: arm64 ELF files run through qemu (flag F: the interpreter is opened now, so that it works in a chroot)
mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
# 3. the userland: packages unpacked, not configured (nothing is run under emulation: seconds, not minutes)
if [ ! -e "$PI_DIR/.root-done" ]; then
  rm -rf "$R"
  mmdebstrap --quiet --architectures=arm64 --variant=extract --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include=python3,python3-venv,python3-pip-whl,openssh-server,openssh-sftp-server,coreutils,dash,bash,grep,sed,procps,hostname,tar,gzip,findutils,diffutils,base-passwd,base-files,libgomp1,libstdc++6,python3-pip,ca-certificates,util-linux,login,passwd,mawk,time \
    bookworm "$R"
  # what the packages' postinst scripts would have made
  cp "$R/usr/share/base-passwd/passwd.master" "$R/etc/passwd"; cp "$R/usr/share/base-passwd/group.master" "$R/etc/group"
  echo 'sshd:x:100:65534::/run/sshd:/usr/sbin/nologin' >> "$R/etc/passwd"
  echo 'pi:x:1000:1000:pi:/home/pi:/bin/bash' >> "$R/etc/passwd"; echo 'pi:x:1000:' >> "$R/etc/group"
  sed 's/^\([^:]*\):.*/\1:*:19000:0:99999:7:::/' "$R/etc/passwd" > "$R/etc/shadow"; chmod 600 "$R/etc/shadow"
  ln -sf mawk "$R/usr/bin/awk"
  echo raspberrypi > "$R/etc/hostname"; printf '127.0.0.1 localhost raspberrypi\n' > "$R/etc/hosts"
  # sysfs files of a Pi 4 as plain files: with the host's /sys (x86 topology) ai-edge-litert's cpuinfo crashes, with none XNNPACK is not used
  c=$R/sys/devices/system/cpu; mkdir -p "$c"; n=$(($(nproc)-1))
  for f in possible present online; do echo "0-$n" > "$c/$f"; done
  for i in $(seq 0 $n); do d=$c/cpu$i/cpufreq; mkdir -p "$d"; echo ondemand > "$d/scaling_governor"; echo 1500000 > "$d/scaling_cur_freq"; echo 1500000 > "$d/cpuinfo_max_freq"; done
  t=$R/sys/class/thermal/thermal_zone0; mkdir -p "$t"; echo cpu-thermal > "$t/type"; echo 48312 > "$t/temp"
  m=$R/sys/firmware/devicetree/base; mkdir -p "$m"; printf 'Raspberry Pi 4 Model B Rev 1.4\0' > "$m/model"
  { for i in $(seq 0 $n); do printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n' $i; done
    printf 'Hardware\t: BCM2835\nRevision\t: c03114\nSerial\t\t: 10000000abcdef01\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n'; } > "$PI_DIR/cpuinfo"
  install -d -o 1000 -g 1000 -m 755 "$R/home/pi"; install -d -o 1000 -g 1000 -m 700 "$R/home/pi/.ssh"
  touch "$PI_DIR/.root-done"
fi
# 4. keys (host key made here: no emulation) and sshd_config
[ -e "$PI_DIR/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C edgetf-test -f "$PI_DIR/id_ed25519"
[ -e "$R/etc/ssh/ssh_host_ed25519_key" ] || ssh-keygen -q -t ed25519 -N '' -C raspberrypi -f "$R/etc/ssh/ssh_host_ed25519_key"
install -o 1000 -g 1000 -m 600 "$PI_DIR/id_ed25519.pub" "$R/home/pi/.ssh/authorized_keys"
echo "[127.0.0.1]:$PI_PORT $(cut -d' ' -f1,2 "$R/etc/ssh/ssh_host_ed25519_key.pub")" > "$PI_DIR/known_hosts"
cat > "$R/etc/ssh/sshd_config" <<C
ListenAddress 127.0.0.1
Port $PI_PORT
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
SetEnv QEMU_CPU=$PI_CPU
C
# 5. python runtime for the device: wheels chosen for arm64 by the host's pip, put in a venv without running anything but "venv"
if [ -n "$PI_RUNTIME" ] && [ "$(cat "$PI_DIR/.runtime-done" 2>/dev/null)" != "$PI_RUNTIME" ]; then
  rm -rf "$R/home/pi/venv"
  QEMU_CPU=$PI_CPU chroot "$R" /usr/bin/python3 -m venv --without-pip /home/pi/venv
  python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --target "$R/home/pi/venv/lib/python3.11/site-packages" --python-version 3.11 --implementation cp --only-binary=:all: \
    $(for p in manylinux_2_36 manylinux_2_34 manylinux_2_31 manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do echo --platform ${p}_aarch64; done) $PI_RUNTIME
  chown -R 1000:1000 "$R/home/pi/venv"; echo "$PI_RUNTIME" > "$PI_DIR/.runtime-done"
fi
# 6. start: own mount, pid and uts namespaces, so that killing one pid ends everything and leaves no mount behind
if ! alive; then
  cat > "$PI_DIR/init.sh" <<'I'
set -e
R=$1; CPUINFO=$2
mount --make-rprivate /
hostname raspberrypi
mount -t proc proc $R/proc; mount --bind $CPUINFO $R/proc/cpuinfo
mount -t tmpfs -o mode=755 tmpfs $R/dev
for d in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do IFS=: read n a b <<< $d; mknod -m 666 $R/dev/$n c $a $b; done
mkdir $R/dev/pts $R/dev/shm; mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts $R/dev/pts; ln -s pts/ptmx $R/dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs $R/dev/shm; ln -s /proc/self/fd $R/dev/fd
mount -t tmpfs -o mode=755 tmpfs $R/run; mkdir $R/run/sshd
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin QEMU_CPU=$3 chroot $R /usr/sbin/sshd -D -e
I
  setsid unshare --mount --pid --uts --fork --kill-child=KILL bash "$PI_DIR/init.sh" "$R" "$PI_DIR/cpuinfo" "$PI_CPU" >"$PI_DIR/sshd.log" 2>&1 </dev/null &
  echo $! > "$PIDF"
fi
ok=; for _ in $(seq 100); do $SSH -o ConnectTimeout=10 pi@127.0.0.1 true 2>"$PI_DIR/ssh.err" && { ok=1; break; }; alive || break; sleep 0.2; done
[ -n "$ok" ] || { say "did not come up"; tail -5 "$PI_DIR/sshd.log" "$PI_DIR/ssh.err"; exit 1; }
say "up, pid $(cat "$PIDF"), $(du -sxm "$PI_DIR" | cut -f1) MB"
say "ssh: $SSH pi@127.0.0.1"
