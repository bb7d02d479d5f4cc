#!/usr/bin/env bash
# Builds small httpd, nginx and busybox images from Debian's packages, as docker archives.
#
#   images/build.sh OUTDIR        writes OUTDIR/{httpd,nginx,busybox}.tar
#
# Nothing is installed on this machine: packages are downloaded and unpacked into a temporary directory. The same
# packages give the same bytes. Results are kept in ${XDG_CACHE_HOME:-~/.cache}/portolan/images by the packages'
# checksums and this script's own; with a kept result no network is needed.
set -euo pipefail
export LC_ALL=C

readonly PACKAGES=(apache2-bin busybox-static libapr1 libaprutil1 libc6 libcrypt1 libexpat1 libgcc-s1 libpcre2-8-0
  libssl3 libuuid1 nginx zlib1g)
readonly IMAGES=(httpd nginx busybox)
# What the servers' configuration below loads; Debian builds the rest of it into the program.
readonly HTTPD_MODULES=(mpm_event authz_core dir mime env alias)

fail() {
  printf 'images/build.sh: %s\n' "$*" >&2
  exit 1
}

main() {
  [[ $# -eq 1 ]] || fail "usage: images/build.sh OUTDIR"
  local out=$1 cache script_key uris kept
  declare -g work
  command -v apt-get dpkg-deb >/dev/null || fail "needs Debian's apt-get and dpkg-deb"
  cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/portolan/images
  mkdir -p "$out" "$cache"
  script_key=$(sha256sum <"${BASH_SOURCE[0]}" | cut -c1-16)

  if uris=$(package_uris); then
    # Name, size and checksum of each package, but not the mirror that it comes from.
    kept=$cache/$script_key-$(cut -d' ' -f2- <<<"$uris" | sort | sha256sum | cut -c1-16)
    if [[ ! -d $kept ]]; then
      work=$(mktemp -d "$cache/.build.XXXXXX")
      trap 'rm -rf "$work"' EXIT
      if fetch "$work"; then
        build "$work" "$kept"
      else
        kept=$(newest "$cache" "$script_key")
      fi
    fi
  else
    kept=$(newest "$cache" "$script_key")
  fi
  [[ -n $kept ]] || fail "the packages (${PACKAGES[*]}) are not to be had and no earlier build is kept;" \
    "connect to the network, run 'apt-get update' and try again"
  local image
  for image in "${IMAGES[@]}"; do
    cp "$kept/$image.tar" "$out/.$image.tar.new"
    mv "$out/.$image.tar.new" "$out/$image.tar"
  done
}

# Where the packages come from. A fresh machine has no package lists yet; only root can fetch them.
package_uris() {
  apt-get --print-uris download "${PACKAGES[@]}" 2>/dev/null && return
  [[ $(id -u) -eq 0 ]] && apt-get -qq update >&2 && apt-get --print-uris download "${PACKAGES[@]}" 2>/dev/null
}

# Latest kept build of this script, whatever its packages; nothing when there is none.
newest() {
  local directory latest=
  for directory in "$1/$2"-*; do
    [[ -d $directory ]] && { [[ -z $latest || $directory -nt $latest ]] && latest=$directory; }
  done
  printf '%s' "$latest"
}

# Downloads the packages into $1/packages.
fetch() {
  mkdir "$1/packages"
  (cd "$1/packages" && apt-get -q -o APT::Sandbox::User=root download "${PACKAGES[@]}") >"$1/log" 2>&1 && return
  printf 'images/build.sh: packages could not be fetched: %s\n' "$(tail -n 1 "$1/log")" >&2
  return 1
}

# Builds all images in $1 and puts them at $2.
build() {
  local work=$1 package image root
  mkdir "$work/debian" "$work/result"
  for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$work/debian"
  done
  for image in "${IMAGES[@]}"; do
    root=$work/$image.root
    base "$work/debian" "$root"
    "image_$image" "$work/debian" "$root"
    pack "$image" "$root" "$work"
  done
  # Another build may have been first; its result is the same.
  mv -T "$work/result" "$2" 2>/dev/null || [[ -d $2 ]]
}

# What every image has: a shell with its tools, users, and the usual directories.
base() {
  local debian=$1 root=$2 applet
  mkdir -p "$root"/{bin,dev,etc,home,lib,proc,root,run,sbin,sys,tmp,usr/bin,usr/lib,usr/sbin,var/log,var/www}
  chmod 1777 "$root/tmp"
  ln -s /run "$root/var/run"
  install -m 755 "$(ls "$debian"/bin/busybox "$debian"/usr/bin/busybox 2>/dev/null | head -n 1)" "$root/bin/busybox"
  "$root/bin/busybox" --list | while read -r applet; do
    [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
  done
  cat >"$root/etc/passwd" <<-'END'
	root:x:0:0:root:/root:/bin/sh
	www-data:x:33:33:www-data:/var/www:/bin/false
	nobody:x:65534:65534:nobody:/nonexistent:/bin/false
	END
  cat >"$root/etc/group" <<-'END'
	root:x:0:
	www-data:x:33:
	nogroup:x:65534:
	END
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
}

# Copies programs and modules ($3…) from $1 into $2 at the same paths, with all libraries that they need.
with_libraries() {
  local debian=$1 root=$2 file loader library
  shift 2
  loader=$(find "$debian" -name 'ld-linux*.so.*' | sort | head -n 1)
  [[ -n $loader ]] || fail "libc6 has no dynamic loader where it is looked for"
  local directories
  directories=$(find "$debian" -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -sd:)
  mkdir -p "$root/lib64"
  cp -L "$loader" "$root/$(loader_path "$debian" "$loader")"
  for file in "$@"; do
    install -D -m 755 "$debian/$file" "$root/$file"
    "$loader" --library-path "$directories" --list "$debian/$file" | sed -n 's/.* => \([^ ]*\) .*/\1/p'
  done | sort -u | while read -r library; do
    [[ $library == "$debian"/* ]] || fail "a library is missing in the list of packages: $library"
    install -D -m 644 "$library" "$root/usr/lib/${library##*/}"
    ln -sf "../usr/lib/${library##*/}" "$root/lib/${library##*/}"
  done
  # glibc loads it by name when a thread ends, so no program lists it.
  library=$(find "$debian" -name 'libgcc_s.so.1' | head -n 1)
  [[ -n $library ]] || fail "libgcc-s1 has no libgcc_s.so.1"
  install -D -m 644 "$library" "$root/usr/lib/libgcc_s.so.1"
  ln -sf ../usr/lib/libgcc_s.so.1 "$root/lib/libgcc_s.so.1"
}

# Where programs expect the dynamic loader: part of the platform's ABI.
loader_path() {
  case ${2##*/} in
  ld-linux-x86-64.so.2) echo "lib64/${2##*/}" ;;
  *) echo "lib/${2##*/}" ;;
  esac
}

image_busybox() {
  config_of_busybox() { echo '"Cmd":["sh"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'; }
}

# The paths are those of the image `httpd` that people know.
image_httpd() {
  local debian=$1 root=$2 module home=usr/local/apache2 modules=()
  for module in "${HTTPD_MODULES[@]}"; do
    modules+=("usr/lib/apache2/modules/mod_$module.so")
  done
  with_libraries "$debian" "$root" usr/sbin/apache2 "${modules[@]}"
  mkdir -p "$root/$home"/{conf,htdocs,logs} "$root/usr/local/bin"
  ln -s /usr/lib/apache2/modules "$root/$home/modules"
  {
    cat <<-'END'
	ServerRoot /usr/local/apache2
	ServerName localhost
	PidFile /run/httpd.pid
	Listen 80
	User www-data
	Group www-data
	END
    for module in "${HTTPD_MODULES[@]}"; do
      echo "LoadModule ${module}_module modules/mod_$module.so"
    done
    cat <<-'END'
	TypesConfig /dev/null
	AddType text/html .html
	AddType text/css .css
	AddType text/plain .txt
	AddType application/json .json
	StartServers 1
	ServerLimit 4
	ThreadsPerChild 32
	MaxRequestWorkers 128
	MinSpareThreads 16
	MaxSpareThreads 128
	DocumentRoot /usr/local/apache2/htdocs
	DirectoryIndex index.html
	<Directory />
	    AllowOverride None
	    Require all denied
	</Directory>
	<Directory /usr/local/apache2/htdocs>
	    Require all granted
	</Directory>
	ErrorLog /proc/self/fd/2
	LogFormat "%h %l %u %t \"%r\" %>s %b" common
	CustomLog /proc/self/fd/1 common
	END
  } >"$root/$home/conf/httpd.conf"
  echo '<html><body><h1>It works!</h1></body></html>' >"$root/$home/htdocs/index.html"
  cat >"$root/usr/local/bin/httpd-foreground" <<-'END'
	#!/bin/sh
	# The page names the pod, so that whoever asks a service sees who answered.
	page=/usr/local/apache2/htdocs/index.html
	if grep -q '<h1>It works!</h1></body>' "$page" 2>/dev/null && [ -w "$page" ]; then
	  echo "<html><body><h1>It works!</h1><p>This is $(hostname)</p></body></html>" >"$page"
	fi
	exec /usr/sbin/apache2 -DFOREGROUND -f /usr/local/apache2/conf/httpd.conf "$@"
	END
  chmod 755 "$root/usr/local/bin/httpd-foreground"
  config_of_httpd() {
    cat <<-'END'
	"Cmd":["httpd-foreground"],"WorkingDir":"/usr/local/apache2","StopSignal":"SIGWINCH","ExposedPorts":{"80/tcp":{}},
	"Env":["PATH=/usr/local/apache2/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
	END
  }
}

image_nginx() {
  local debian=$1 root=$2
  with_libraries "$debian" "$root" usr/sbin/nginx
  mkdir -p "$root"/{etc/nginx/conf.d,usr/share/nginx/html,var/lib/nginx,var/log/nginx}
  cat >"$root/etc/nginx/nginx.conf" <<-'END'
	user www-data;
	worker_processes 1;
	pid /run/nginx.pid;
	error_log /dev/stderr notice;
	events { worker_connections 1024; }
	http {
	    types { text/html html; text/css css; text/plain txt; application/json json; application/javascript js; }
	    default_type application/octet-stream;
	    access_log /dev/stdout combined;
	    sendfile on;
	    keepalive_timeout 65;
	    include /etc/nginx/conf.d/*.conf;
	}
	END
  # The page names the pod, so that whoever asks a service sees who answered.
  cat >"$root/etc/nginx/conf.d/default.conf" <<-'END'
	server {
	    listen 80;
	    server_name localhost;
	    root /usr/share/nginx/html;
	    location = / {
	        default_type text/html;
	        if (-f $document_root/index.html) { rewrite ^ /index.html last; }
	        return 200 "<html><body><h1>Welcome to nginx!</h1><p>This is $hostname</p></body></html>\n";
	    }
	}
	END
  config_of_nginx() {
    cat <<-'END'
	"Cmd":["nginx","-g","daemon off;"],"StopSignal":"SIGQUIT","ExposedPorts":{"80/tcp":{}},
	"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
	END
  }
}

# Writes the tree $2 as the docker archive $3/result/$1.tar.
pack() {
  local image=$1 root=$2 work=$3 archive=$3/$1.archive layer config
  mkdir -p "$archive"
  reproducible_tar "$root" "$archive/layer.tar"
  layer=$(sha256sum <"$archive/layer.tar" | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(architecture)" "$("config_of_$image" | tr -d '\t\n')" "$layer" >"$archive/config.json"
  config=$(sha256sum <"$archive/config.json" | cut -d' ' -f1)
  mv "$archive/config.json" "$archive/$config.json"
  printf '[{"Config":"%s.json","RepoTags":["%s:latest"],"Layers":["layer.tar"]}]' \
    "$config" "$image" >"$archive/manifest.json"
  reproducible_tar "$archive" "$work/result/$image.tar"
}

reproducible_tar() {
  tar --create --file "$2" --directory "$1" --format gnu --sort name --mtime @0 --owner 0 --group 0 --numeric-owner .
}

# In the words of the image specification.
architecture() {
  local name
  name=$(dpkg --print-architecture)
  case $name in
  i386) echo 386 ;;
  armhf) echo arm ;;
  *) echo "$name" ;;
  esac
}

main "$@"
