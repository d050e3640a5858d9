"""What Kubernetes does with the StatefulSet's pods, as far as the manifest says it: a kubelet for each pod, which starts
its container again whenever it ends, asks the three probes, and takes the pod away by preStop, SIGTERM and, after the
grace, SIGKILL; and a controller that makes and deletes pods until there are as many as `replicas`, each under another
address, with the claim of its number.

All times and thresholds are the manifest's. Only the pause before a container is started again is ours: 1 s, where a
kubelet waits from 10 s up to five minutes.
"""

import os
import shutil
import signal
import subprocess
import threading
import time

import manifest
from manifest import at, container, only, pod_template
from test_pods import Pod, PodCluster
from cluster import grpc, health_pb2, health_pb2_grpc
from network import ip

BACK_OFF_SECONDS = 1.0
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


class Probe:
    """One of the container's probes: whether it is due, and what its answers come to."""

    def __init__(self, pod, name):
        self.words = at(container(pod.cluster.objects), name)
        self.pod, self.failures, self.successes = pod, 0, 0
        self.due = time.monotonic() + self.words.get("initialDelaySeconds", 0)

    def ask(self):
        """True or False: it has been answered, or missed often enough; None: not yet."""
        self.due = time.monotonic() + self.words["periodSeconds"]
        good = self.answered()
        self.successes, self.failures = (self.successes + 1, 0) if good else (0, self.failures + 1)
        if good and self.successes >= self.words.get("successThreshold", 1):
            return True
        return False if self.failures >= self.words["failureThreshold"] else None

    def answered(self):
        target = "ipv4:%s:%d" % (self.pod.host, at(self.words, "grpc port"))
        request = health_pb2.HealthCheckRequest(service=at(self.words, "grpc service"))
        with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=self.words["timeoutSeconds"])
            except grpc.RpcError:
                return False
        return reply.status == health_pb2.HealthCheckResponse.SERVING


class Kubelet(threading.Thread):
    def __init__(self, pod):
        super().__init__(daemon=True)
        self.pod = pod
        self.stopping = threading.Event()
        self.ready = False
        self.exits = []      # codes of containers that ended by themselves, or by a probe
        self.probe_kills = 0
        self.since = time.monotonic()
        self.ready_after = None  # seconds
        self.start()

    def run(self):
        while not self.stopping.is_set():
            self.pod.arguments()
            self.pod.start()
            process = self.pod.process
            self.keep(process)
            self.ready = False
            code = process.wait()
            self.pod.process = None
            if not self.stopping.is_set():
                self.exits.append(code)
                self.stopping.wait(BACK_OFF_SECONDS)

    def keep(self, process):
        """Until the container ends."""
        startup, liveness, readiness = (Probe(self.pod, name) for name in PROBES)
        while process.poll() is None:
            if startup is not None:
                asked = startup
            else:
                asked = min(liveness, readiness, key=lambda probe: probe.due)
            if time.monotonic() < asked.due:
                time.sleep(0.05)
                continue
            verdict = asked.ask()
            if asked is readiness and verdict is not None:
                self.say_ready(verdict)
            elif verdict is False:
                self.probe_kills += 1
                process.kill()
            elif asked is startup and verdict:
                startup = None
                liveness.due = readiness.due = time.monotonic()

    def say_ready(self, ready):
        self.ready = ready and not self.stopping.is_set()
        if self.ready and self.ready_after is None:
            self.ready_after = time.monotonic() - self.since

    def take_away(self):
        """As when the pod is deleted: (exit code, seconds). None for the code when no container ran."""
        began = time.monotonic()
        grace = at(pod_template(self.pod.cluster.objects), "spec terminationGracePeriodSeconds")
        self.stopping.set()
        self.ready = False  # it leaves the services at once
        process = self.pod.process
        code = None
        if process is not None and process.poll() is None:
            self.pod.execute(*at(container(self.pod.cluster.objects), "lifecycle preStop exec command"), timeout=grace)
            pid, _ = self.pod.daemon()
            os.kill(pid, signal.SIGTERM)
            try:
                code = process.wait(max(0, began + grace - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        self.join()
        self.pod.process = None
        return code, time.monotonic() - began

    def fail(self):
        """The machine is gone: nothing of the pod runs after this."""
        self.stopping.set()
        self.ready = False
        process = self.pod.process
        if process is not None and process.poll() is None:
            self.pod.kill()
        self.join()
        self.pod.process = None


class KeptPod(Pod):
    kubelet = None

    def execute(self, *words, timeout=120):
        """kubectl exec: in the container's namespaces and root, as its user. The finished process."""
        security = at(pod_template(self.cluster.objects), "spec securityContext")
        pid, _ = self.daemon()
        return subprocess.run(
            ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--root", "--", "/usr/bin/setpriv", "--reuid",
             str(security["runAsUser"]), "--regid", str(security["runAsGroup"]), "--clear-groups", "--",
             "/usr/bin/" + words[0], *words[1:]],
            env={}, capture_output=True, text=True, timeout=timeout)

    @property
    def ready(self):
        return self.kubelet is not None and self.kubelet.ready

    def number(self):
        return int(self.name.rsplit("-", 1)[1])


class Controller(PodCluster):
    """kubectl scale, delete pod, delete pvc; and what the controllers make of it."""

    pod_class = KeptPod

    def __init__(self, folder, machines, zones):
        self.zones = zones
        self.addresses = iter(range(100, 250))
        super().__init__(folder, machines)

    def make_nodes(self, count):
        pods = super().make_nodes(count)
        for pod in pods:
            pod.zone = self.zones[pod.number() % len(self.zones)]
            ip("addr", "flush", "dev", "eth0", space=pod.space)
        return pods

    def stateful(self):
        return at(only(self.objects, "StatefulSet"), "spec")

    def pods(self):
        """That there are."""
        return [pod for pod in self.nodes if pod.kubelet is not None]

    def ready_pods(self):
        """That the client service has."""
        return [pod for pod in self.nodes if pod.ready]

    def place(self, pod, address=None):
        """The claim is made where there is none; then the pod gets an address, a name and a kubelet."""
        if not os.path.isdir(pod.data):
            shutil.rmtree(pod.data + ".root", ignore_errors=True)
            pod.make_volume()
        pod.set_address(address or "10.77.0.%d" % next(self.addresses))
        pod.kubelet = Kubelet(pod)

    def delete_pod(self, pod):
        """What its end was like. The controller makes it anew if its number is below `replicas`."""
        told = pod.kubelet.take_away()
        pod.kubelet = None
        self.name_server.names.pop(pod.full_name(), None)
        return told

    def reconcile(self):
        replicas = self.stateful()["replicas"]
        assert self.stateful()["podManagementPolicy"] == "Parallel"
        surplus = [pod for pod in self.pods() if pod.number() >= replicas]
        told = {pod.name: self.delete_pod(pod) for pod in reversed(surplus)}
        if self.stateful()["persistentVolumeClaimRetentionPolicy"]["whenScaled"] != "Retain":
            for pod in surplus:
                self.delete_claim(pod)
        for pod in self.nodes[:replicas]:
            if pod.kubelet is None:
                self.place(pod)
        return told

    def scale(self, replicas):
        self.stateful()["replicas"] = replicas
        return self.reconcile()

    def delete_claim(self, pod):
        assert pod.kubelet is None, "a claim in use stays until its pod is gone"
        shutil.rmtree(pod.data)

    def fail_all(self):
        """Every machine at once; the pods come back, each under the address that another one had."""
        failed = self.pods()
        addresses = [pod.host for pod in failed]
        for pod in failed:
            pod.kubelet.fail()
            pod.kubelet = None
        for pod in failed:
            ip("addr", "flush", "dev", "eth0", space=pod.space)
            ip("neigh", "flush", "all", space=pod.space)
        ip("neigh", "flush", "all")
        for pod, address in zip(failed, addresses[1:] + addresses[:1]):
            self.place(pod, address)

    def close(self):
        for pod in self.pods():
            pod.kubelet.fail()
            pod.kubelet = None
        super().close()
