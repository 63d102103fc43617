"""What brume costs while many workloads stand still: 200 Deployments, 50 CronJobs and 20 autoscalers."""
import time

DEPLOYMENTS, WITH_PODS, CRON_JOBS, AUTOSCALERS = 200, 80, 50, 20


def deployment(name, replicas, pod_spec):
    labels = {'app': name}
    spec = {**pod_spec, 'containers': [{**pod_spec['containers'][0], 'resources': {'requests': {'cpu': '10m', 'memory': '8Mi'}}}]}
    return {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'metadata': {'name': name},
            'spec': {'replicas': replicas, 'selector': {'matchLabels': labels}, 'template': {'metadata': {'labels': labels}, 'spec': spec}}}


def cron_job(name, pod_spec):
    job = {'template': {'spec': {**pod_spec, 'restartPolicy': 'Never'}}}
    return {'apiVersion': 'batch/v1', 'kind': 'CronJob', 'metadata': {'name': name}, 'spec': {'schedule': '7 3 29 2 *', 'jobTemplate': {'spec': job}}}


def autoscaler(name):
    target = {'type': 'Utilization', 'averageUtilization': 50}
    return {'apiVersion': 'autoscaling/v2', 'kind': 'HorizontalPodAutoscaler', 'metadata': {'name': name},
            'spec': {'scaleTargetRef': {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'name': name}, 'minReplicas': 1, 'maxReplicas': 3,
                     'metrics': [{'type': 'Resource', 'resource': {'name': 'cpu', 'target': target}}]}}


def make(api, namespace, pod_spec):
    """Makes them, and waits until all pods are ready and the autoscalers have looked once. A node takes 110 pods, so that most
    Deployments have none."""
    apps, batch = (f'/apis/{group}/v1/namespaces/{namespace}' for group in ('apps', 'batch'))
    scaling = f'/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers'
    for i in range(DEPLOYMENTS):
        api.create(f'{apps}/deployments', deployment(f'web-{i}', 1 if i < WITH_PODS else 0, pod_spec))
    for i in range(CRON_JOBS):
        api.create(f'{batch}/cronjobs', cron_job(f'report-{i}', pod_spec))
    for i in range(AUTOSCALERS):
        api.create(scaling, autoscaler(f'web-{i}'))

    def done():
        ready = sum(d['status'].get('readyReplicas', 0) for d in api.get(f'{apps}/deployments')['items'])
        looked = sum('currentMetrics' in h['status'] for h in api.get(scaling)['items'])
        return ready == WITH_PODS and looked == AUTOSCALERS
    deadline = time.monotonic() + 120
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit('the workloads are not ready after 120 s')
        time.sleep(0.5)
