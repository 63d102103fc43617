# What a virtual machine of test/shows does: it carries out scripts that come over its second serial line, one a line: the MD5 of the
# script in base64, and that. It answers each with a line: what the script printed, in base64, and its exit status. A busy emulated
# machine's serial port loses a byte at times: a line that is not whole is answered by "again".
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
exec 3<>/dev/ttyS1 # before it says so: a port that nobody has open loses what comes
stty raw -echo <&3
echo serving
while read -r sum script <&3; do
  if [ "$(printf %s "$script" | md5sum | cut -d ' ' -f 1)" != "$sum" ]; then
    echo again >&3
    continue
  fi
  echo "$script" | base64 -d >/tmp/script
  sh /tmp/script >/tmp/printed 2>&1 </dev/null 3>&-
  status=$?
  echo "$(base64 /tmp/printed | tr -d '\n') $status" >&3
done
poweroff -f
