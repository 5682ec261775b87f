// Written by "slipway ci init jenkins --library": put it into vars/ of a shared library. A team's
// Jenkinsfile is then one line: slipwayPipeline()
// folder: where slipway.yaml is; label: of the agents; branch: whose commits are delivered.
def call(Map config = [:]) {
  def folder = config.folder ?: '.'
  def label = config.label ?: ''
  def branch = config.branch ?: 'main'
  def approvers = config.approvers ?: '' // whom Jenkins lets answer, comma-separated; Slipway asks slipway.yaml too
  properties([buildDiscarder(logRotator(numToKeepStr: '50'))])
  timeout(time: 14, unit: 'DAYS') { timestamps {
    ansiColor('xterm') {
      def stages = []
      def service = ''
      node(label) {
        checkout scm
        dir(folder) {
          sh 'slipway check'
          stages = sh(script: 'slipway pipeline stages', returnStdout: true).trim().split('\n') as List
          service = sh(script: "sed -n 's/^service: *//p' slipway.yaml", returnStdout: true).trim()
        }
      }
      for (int i = 0; i < stages.size(); i++) {
        def name = stages[i]
        if (env.BRANCH_NAME != null && env.BRANCH_NAME != branch && !(name in ['test', 'build'])) {
          continue // other branches are tested and built, not delivered
        }
        stage(name) {
          if (name.startsWith('approve-')) {
            def code = 0
            node(label) {
              checkout scm
              dir(folder) { code = sh(script: "slipway pipeline run --stage ${name}", returnStatus: true) }
            }
            while (code == 7) { // until as many as are needed have said yes
              // No agent is held while people think.
              def said = [:]
              try {
                said = input(message: "Deliver ${service} to ${name.substring(8)}?", ok: 'Go on', submitter: approvers, submitterParameter: 'APPROVER', parameters: [
                  choice(name: 'DECISION', choices: ['approve', 'reject'], description: 'What is recorded beside the image'),
                  string(name: 'NOTE', defaultValue: '', description: 'Why')])
              } catch (aborted) {
                node(label) {
                  checkout scm
                  dir(folder) { sh 'slipway pipeline notify rejected --reason "aborted in Jenkins: $BUILD_URL"' }
                }
                throw aborted
              }
              node(label) {
                checkout scm
                dir(folder) {
                  withEnv(["APPROVER=${said.APPROVER}", "DECISION=${said.DECISION}", "NOTE=${said.NOTE}", "ENVIRONMENT=${name.substring(8)}"]) {
                    code = sh(returnStatus: true, script: '''
                      if [ "$DECISION" = reject ]; then slipway approve "$ENVIRONMENT" --reject --by "$APPROVER" --note "$NOTE"; fi
                      slipway pipeline run --stage "approve-$ENVIRONMENT" --approve-as "$APPROVER" --note "$NOTE $BUILD_URL"
                    ''')
                  }
                }
              }
            }
            if (code != 0) {
              error("${name} ended with ${code}: 8 is superseded by a newer commit, 9 rejected")
            }
          } else {
            def work = {
              node(label) {
                checkout scm
                dir(folder) {
                  try {
                    timeout(time: name.startsWith('deploy-') ? 2 : 1, unit: 'HOURS') {
                      sh "slipway pipeline run --stage ${name}${name == 'push' ? ' --tested' : ''}"
                    }
                    if (name.startsWith('deploy-')) {
                      currentBuild.description = sh(script: 'slipway pipeline describe', returnStdout: true).trim()
                    }
                  } catch (failed) {
                    if (name.startsWith('deploy-')) {
                      sh "slipway status ${name.substring(7)} || true"
                    }
                    throw failed
                  } finally {
                    junit(testResults: ".slipway/reports/${name}.xml", allowEmptyResults: true)
                    if (name == 'scan') {
                      archiveArtifacts(artifacts: '.slipway/reports/scan.sarif', allowEmptyArchive: true)
                    }
                  }
                }
              }
            }
            if (name.startsWith('deploy-')) {
              milestone(ordinal: i)
              lock(resource: "slipway-${service}-${name.substring(7)}") { work() }
            } else {
              work()
            }
          }
        }
      }
    }
  } }
}
