//! The `proxy` subresource with a pod behind it: through `kubectl get --raw`, and through `kubectl proxy` with other clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use crate::harness::{Lab, PATIENCE, text};

/// A web server in shell: it shows what it was asked, sends others on, counts bodies, and switches over to echoing.
const SERVER: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: server}
data:
  serve: |
    cr=$(printf '\r')
    read -r method path version
    length=0; upgrade=; seen=
    while read -r line; do
      line=${line%"$cr"}
      [ -n "$line" ] || break
      seen="$seen$line
    "
      case $line in
        [Cc]ontent-[Ll]ength:*) length=${line#*: } ;;
        [Uu]pgrade:*) upgrade=${line#*: } ;;
      esac
    done
    if [ -n "$upgrade" ]; then
      printf 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n' "$upgrade"
      exec cat
    fi
    case $path in
      /go*) printf 'HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' ;;
      /count) printf 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'; echo "$method $(head -c "$length" | wc -c)" ;;
      /much) printf 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'; head -c 20000000 /dev/zero ;;
      *) printf 'HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n'
         printf '%s %s\n%s' "$method" "$path" "$seen" ;;
    esac
---
apiVersion: v1
kind: Pod
metadata: {name: raw, labels: {app: raw}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: raw
    image: busybox
    command: [nc, -ll, -p, "9000", -e, sh, /server/serve]
    ports: [{containerPort: 9000}]
    readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}
    volumeMounts: [{name: server, mountPath: /server}]
  volumes: [{name: server, configMap: {name: server}}]
---
apiVersion: v1
kind: Service
metadata: {name: raw}
spec:
  selector: {app: raw}
  ports: [{name: http, port: 80, targetPort: 9000}]
"#;

/// `kubectl proxy` on a port of its own choice; ends with the value.
struct LocalProxy {
    child: Child,
    address: String,
}

impl LocalProxy {
    fn start(lab: &Lab) -> Self {
        let mut child = lab.kubectl_command(&["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Starting to serve on ").expect("an address").to_owned();
        Self { child, address }
    }

    /// Sends bytes, and everything that comes back until the other end closes.
    fn raw(&self, request: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        let mut answer = Vec::new();
        let mut reader = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                stream.write_all(request.as_bytes()).unwrap();
                stream.write_all(body).unwrap();
            });
            reader.read_to_end(&mut answer).unwrap();
        });
        answer
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for LocalProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn requests_reach_pods_through_the_api_server() {
    let lab = Lab::up(&["--nodes", "1"]);
    let applied = lab.apply(SERVER);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    lab.kubectl(&["wait", "--for=condition=Ready", "pod/raw", &format!("--timeout={}s", PATIENCE.as_secs())]);
    let objects = "/api/v1/namespaces/default";
    let seen = lab.kubectl(&["get", "--raw", &format!("{objects}/services/raw:80/proxy/a%20b/?x=y")]);
    assert!(seen.starts_with("GET /a%20b/?x=y\n"), "{seen}");
    assert!(seen.contains(&format!("x-forwarded-uri: {objects}/services/raw:80/proxy/a%20b/\n")), "{seen}");
    let closed =
        lab.kubectl_command(&["get", "--raw", &format!("{objects}/pods/raw:1/proxy/")]).output().unwrap();
    let refusal = text(&closed.stderr);
    assert!(refusal.contains("error trying to reach service: dial tcp 10.244."), "{refusal}");
    assert!(refusal.contains(":1: connect: connection refused"), "{refusal}");

    let proxy = LocalProxy::start(&lab);
    let pod = format!("{objects}/pods/raw:9000/proxy");
    let ask = |method: &str, path: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!(
            "{method} {pod}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        proxy.raw(&head, body)
    };
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = text(&ask(method, "/x", "Authorization: Bearer secret\r\n", b""));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{method}: {answer}");
        assert!(answer.contains(&format!("{method} /x\n")), "{method}: {answer}");
        let answer = answer.to_lowercase();
        assert!(!answer.contains("secret") && !answer.contains("access-control"), "{method}: {answer}");
    }
    let moved = text(&ask("GET", "/go", "", b""));
    assert!(moved.starts_with("HTTP/1.1 302 Found\r\n"), "{moved}");
    assert!(moved.contains(&format!("\r\nLocation: {pod}/there\r\n")), "{moved}");
    let root = text(&ask("GET", "", "", b""));
    assert!(root.contains(&format!("\r\nLocation: {pod}/\r\n")), "{root}");
    // Three times what the API itself takes in.
    let counted = text(&ask("PUT", "/count", "", &vec![7; 9 << 20]));
    assert!(counted.contains("PUT 9437184\n"), "{counted}");
    let much = ask("GET", "/much", "", b"");
    assert!(much.len() > 20_000_000, "{}", much.len());
    switched_over(&proxy, &pod);
}

/// The connection becomes something else, and bytes go both ways.
fn switched_over(proxy: &LocalProxy, pod: &str) {
    let mut stream = proxy.connect();
    let request =
        format!("GET {pod}/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 101 Switching Protocols\r\n");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    for word in ["one\n", "two\n"] {
        stream.write_all(word.as_bytes()).unwrap();
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, word);
    }
}
