"""Whether the files of the folder deploy fit together: files.py ROOT. Prints every complaint and ends with 1 if there is one.

The compose file against the Dockerfile, the folders that it mounts, the configuration of Prometheus and Grafana; kernel settings
against this machine's kernel. That compose itself takes the file is seen elsewhere, by docker compose.
"""

import pathlib
import re
import sys

import yaml

root = pathlib.Path(sys.argv[1])
deploy = root / "deploy"
complaints = []


def require(holds, what):
    if not holds:
        complaints.append(what)


def load(path):
    return yaml.safe_load((deploy / path).read_text(encoding="utf-8"))


def check_compose(compose, stages):
    for name, service in compose["services"].items():
        if "build" in service:
            require(service["build"]["target"] in stages, f"{name}: deploy/Dockerfile has no stage {service['build']['target']}")
            require(service.get("read_only") and service.get("cap_drop") == ["ALL"], f"{name}: ours runs read-only, without capabilities")
        else:
            require(re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"{name}: {service['image']} names no version")
        for port in service.get("ports", ()):
            require(port.startswith("127.0.0.1:"), f"{name}: {port} is open to everybody")
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                require((deploy / "compose" / source).exists(), f"{name}: {source} does not exist")
            else:
                require(source in compose["volumes"], f"{name}: the volume {source} is not declared")


def mounted(service, target):
    """What lies at a path of a container."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}.get(target)


def check_monitoring(compose):
    services = compose["services"]
    prometheus, grafana = load("compose/prometheus.yml"), services["grafana"]
    targets = [one for config in prometheus["scrape_configs"] for group in config["static_configs"] for one in group["targets"]]
    require(targets == ["gateway:9464"], f"Prometheus scrapes {targets}")
    require(prometheus["scrape_configs"][0]["job_name"] == "gateway", "the rules expect the job `gateway`")
    token = prometheus["scrape_configs"][0]["authorization"]["credentials_file"]
    asked = services["gateway"]["environment"]["GATEWAY_ADMIN_TOKEN_FILE"]
    shared = mounted(services["prometheus"], f"/etc/prometheus/{token}")
    require(shared and shared == mounted(services["gateway"], asked), "Prometheus presents another admin token than the gateway wants")
    source = load("compose/grafana/datasources.yaml")["datasources"][0]
    require(source["type"] == "prometheus" and source["url"] == "http://prometheus:9090", f"Grafana asks {source['url']}")
    require(source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"], "Grafana's interval is that of the scrapes")
    path = load("compose/grafana/dashboards.yaml")["providers"][0]["options"]["path"]
    require(mounted(grafana, path) == "../../dashboards", f"the dashboards are not mounted at {path}")
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    require((root / "dashboards" / pathlib.Path(home).name).exists(), f"{home} is no dashboard")
    rules = prometheus["rule_files"]
    folder = mounted(services["prometheus"], "/etc/prometheus/rules")
    require(all((deploy / "compose" / folder / pathlib.Path(one).name).exists() for one in rules), f"no {rules} in {folder}")


def check_kernel():
    lines = (deploy / "kernel.conf").read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if line and not line.startswith("#")]
    require(len(settings) >= 8, "there are kernel settings")
    for number, line in enumerate(lines):
        if line in settings:
            require(lines[number - 1].startswith("#") or lines[number - 1] in settings, f"{line}: a reason stands above it")
            key, value = (part.strip() for part in line.split("="))
            path = pathlib.Path("/proc/sys") / key.replace(".", "/")
            require(path.exists(), f"{key}: this kernel has no such setting")
            now = path.read_text(encoding="utf-8").split() if path.exists() else value.split()
            require(len(now) == len(value.split()), f"{key} takes {len(now)} numbers")


dockerfile = (deploy / "Dockerfile").read_text(encoding="utf-8")
stages = re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE)
compose = load("compose/compose.yaml")
check_compose(compose, stages)
check_monitoring(compose)
check_kernel()
print(*complaints, sep="\n", end="\n" if complaints else "")
print(f"files: {len(compose['services'])} services, {len(complaints)} complaints")
sys.exit(1 if complaints else 0)
