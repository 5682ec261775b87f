// Runs a Jenkinsfile, or a shared library's step, as Jenkins would, as far as what Slipway writes goes:
// each "agent" is a fresh clone of the repository, "sh" runs for real. A step, directive or option that
// is not below is refused: nothing that Jenkins does not know is to pass.
//
// Usage: groovy harness.groovy FILE REPOSITORY WORK ANSWERS.json
// ANSWERS: for each stage with an input, {"submitter": …, "DECISION": …, "NOTE": …} or "abort".
import groovy.json.JsonSlurper

class Refused extends RuntimeException { Refused(String m) { super(m) } }
class Failed extends RuntimeException { Failed(String m) { super(m) } }
class Aborted extends RuntimeException { Aborted(String m) { super(m) } }

// What a build may be told of itself.
class Build { String description; void setDescription(String s) { description = s; println "[jenkins] description $s" } }

class Run {
  Build build = new Build()
  List labels = []
  String repository, work
  Map answers
  Map env = [:]
  List junit = [], locks = []
  int agents = 0, milestone = -1
  File folder
  String stage
  void say(String s) { println "[jenkins] $s" }
  def on(Closure c) { // an agent with a fresh workspace
    def before = folder
    folder = new File(work, "agent-${++agents}")
    exec(['git', 'clone', '-q', repository, folder.path], new File(work))
    try { c() } finally { folder = before }
  }
  int exec(List command, File dir, StringBuilder out = null) {
    def b = new ProcessBuilder(command as String[]).directory(dir).redirectErrorStream(out == null)
    b.environment().putAll(env)
    def p = b.start()
    if (out != null) { p.consumeProcessErrorStream(System.out); out << p.inputStream.text } else { p.inputStream.eachLine { println "    $it" } }
    return p.waitFor()
  }
}

// Block is a directive's body: what it may hold are its methods, and no more.
class Block {
  Run run
  def methodMissing(String name, args) { throw new Refused("${getClass().simpleName} knows no \"$name\"") }
  def into(Block b, Closure c) {
    b.run = run
    c.delegate = b
    c.resolveStrategy = Closure.DELEGATE_ONLY
    c.call()
    return b
  }
  void only(Map given, List known, String what) {
    def unknown = given.keySet().findAll { !(it in known) }
    if (unknown) throw new Refused("$what knows no parameter $unknown")
  }
}

class Steps extends Block {
  def getEnv() { run.env }
  def getScm() { 'scm' }
  def sh(String script) { sh(script: script) }
  def sh(Map m) {
    only(m, ['script', 'returnStatus', 'returnStdout', 'label'], 'sh')
    if (!run.folder) throw new Refused('sh needs an agent')
    run.say "sh ${m.script.trim()}"
    def out = m.returnStdout ? new StringBuilder() : null
    int code = run.exec(['/bin/sh', '-xe', '-c', m.script], run.folder, out)
    if (m.returnStatus) return code
    if (code != 0) throw new Failed("script returned exit code $code")
    return out?.toString()
  }
  def dir(String path, Closure c) { def before = run.folder; run.folder = new File(before, path); try { nested(c) } finally { run.folder = before } }
  def script(Closure c) { nested(c) }
  def getCurrentBuild() { run.build }
  def node(String label, Closure c) { run.labels << label; run.on { nested(c) } }
  def checkout(String scm) {}
  def echo(String s) { run.say s }
  def error(String s) { throw new Failed(s) }
  def junit(Map m) {
    only(m, ['testResults', 'allowEmptyResults', 'keepLongStdio'], 'junit')
    if (m.testResults =~ /[*?]/) throw new Refused("this harness knows no patterns: ${m.testResults}")
    def files = [new File(run.folder, m.testResults)].findAll { it.exists() }
    if (!files && !m.allowEmptyResults) throw new Failed('no test report files were found')
    files.each { new XmlSlurper().parse(it); run.junit << it.name; run.say "junit ${it.name}" }
  }
  def archiveArtifacts(Map m) { only(m, ['artifacts', 'allowEmptyArchive', 'fingerprint'], 'archiveArtifacts') }
  def milestone(Map m) {
    only(m, ['ordinal', 'label'], 'milestone')
    if (m.ordinal <= run.milestone) throw new Refused("milestone ${m.ordinal} after ${run.milestone}")
    run.milestone = m.ordinal
  }
  def nested(Closure c) { c.delegate = this; c.resolveStrategy = Closure.DELEGATE_FIRST; c.call() }
}

class LogRotator { Map m }
class Options extends Block {
  def logRotator(Map m) { only(m, ['numToKeepStr', 'daysToKeepStr', 'artifactNumToKeepStr', 'artifactDaysToKeepStr'], 'logRotator'); new LogRotator(m: m) }
  def buildDiscarder(LogRotator r) {}
  def timeout(Map m) { only(m, ['time', 'unit', 'activity'], 'timeout'); java.util.concurrent.TimeUnit.valueOf(m.unit) }
  def timestamps() {}
  def ansiColor(String s) {}
  def lock(Map m) { only(m, ['resource', 'label', 'quantity', 'variable', 'inversePrecedence'], 'lock'); run.locks << m.resource }
}

class When extends Block {
  boolean ok = true
  def beforeAgent(boolean b) {}
  def beforeInput(boolean b) {}
  def environment(Map m) { only(m, ['name', 'value'], 'environment'); ok = ok && run.env[m.name] == m.value }
  def expression(Closure c) { c.delegate = new Steps(run: run); c.resolveStrategy = Closure.DELEGATE_ONLY; ok = ok && c.call() }
}

class Parameters extends Block {
  List names = []
  def choice(Map m) { only(m, ['name', 'choices', 'description'], 'choice'); names << m.name }
  def string(Map m) { only(m, ['name', 'defaultValue', 'description', 'trim'], 'string'); names << m.name }
}

class Input extends Block {
  String submitterName
  Parameters given = new Parameters()
  def message(String s) { run.say "input: $s" }
  def ok(String s) {}
  List submitters = []
  def submitter(String s) { submitters = s.split(',').findAll { it } as List }
  def submitterParameter(String s) { submitterName = s }
  def parameters(Closure c) { into(given, c) }
}

class Post extends Block {
  Map conditions = [:]
  def always(Closure c) { conditions.always = c }
  def success(Closure c) { conditions.success = c }
  def failure(Closure c) { conditions.failure = c }
  def aborted(Closure c) { conditions.aborted = c }
  void end(String result) { ['always', result].each { if (conditions[it]) into(new Steps(), conditions[it]) } }
}

class Agent extends Block { def label(String s) { run.labels << s } }

class Stage extends Block {
  def any = 'any', none = 'none'
  def agentKind, stepsBody, whenBody, inputBody, postBody
  def agent(String kind) { agentKind = kind }
  def agent(Closure c) { into(new Agent(), c); agentKind = 'any' }
  def options(Closure c) { into(new Options(), c) }
  def when(Closure c) { whenBody = c }
  def input(Closure c) { inputBody = c }
  def steps(Closure c) { stepsBody = c }
  def post(Closure c) { postBody = c }
  void go(String name) {
    if (whenBody && !into(new When(), whenBody).ok) { run.say "stage $name skipped"; return }
    run.say "stage $name"
    run.stage = name
    if (inputBody) {
      def i = into(new Input(), inputBody)
      def said = run.answers[name]
      if (said == null || said == 'abort') throw new Aborted("nobody went on at $name")
      if (i.submitters && !(said.submitter in i.submitters)) throw new Refused("${said.submitter} may not answer $name")
      if (i.submitterName) run.env[i.submitterName] = said.submitter
      i.given.names.each { run.env[it] = said[it] ?: '' }
    }
    if (agentKind != 'any') throw new Refused("stage $name has no agent")
    def post = postBody ? into(new Post(), postBody) : new Post(run: run)
    run.on {
      try { into(new Steps(), stepsBody) } catch (Failed e) { post.end('failure'); throw e }
      post.end('success')
    }
  }
}

class Stages extends Block {
  def stage(String name, Closure c) { into(new Stage(), c).go(name) }
}

class Pipeline extends Block {
  def any = 'any', none = 'none'
  def agent(String kind) { if (kind != 'none') throw new Refused('this harness knows agent none at the top') }
  def options(Closure c) { into(new Options(), c) }
  def postBody
  def post(Closure c) { postBody = c }
  def stagesBody
  def stages(Closure c) { stagesBody = c }
  void go() {
    def post = postBody ? into(new Post(), postBody) : new Post(run: run)
    try { into(new Stages(), stagesBody) } catch (Aborted e) { post.end('aborted'); throw e } catch (Failed e) { post.end('failure'); throw e }
    post.end('success')
  }
}

// Scripted is what a shared library's step may call.
class Scripted extends Steps {
  def properties(List l) {}
  def logRotator(Map m) { new Options(run: run).logRotator(m) }
  def buildDiscarder(LogRotator r) {}
  def timestamps(Closure c) { nested(c) }
  def ansiColor(String s, Closure c) { nested(c) }
  def stage(String name, Closure c) { run.say "stage $name"; run.stage = name; nested(c) }
  def timeout(Map m, Closure c) { new Options(run: run).timeout(m); nested(c) }
  def lock(Map m, Closure c) { only(m, ['resource'], 'lock'); run.locks << m.resource; nested(c) }
  def withEnv(List l, Closure c) { l.each { def (k, v) = it.split('=', 2) as List; run.env[k] = v }; nested(c) }
  def choice(Map m) { new Parameters(run: run).choice(m); m.name }
  def string(Map m) { new Parameters(run: run).string(m); m.name }
  def input(Map m) {
    only(m, ['message', 'ok', 'submitter', 'submitterParameter', 'parameters'], 'input')
    run.say "input: ${m.message}"
    def said = run.answers[run.stage]
    if (said == null || said == 'abort') throw new Aborted("nobody went on at ${run.stage}")
    if (m.submitter && !(said.submitter in m.submitter.split(','))) throw new Refused("${said.submitter} may not answer ${run.stage}")
    def out = [:]
    m.parameters.each { out[it] = said[it] ?: '' }
    out[m.submitterParameter] = said.submitter
    return out
  }
}

def run = new Run(repository: args[1], work: args[2], answers: new JsonSlurper().parse(new File(args[3])), env: [BUILD_URL: 'http://jenkins.test/job/7/', JOB_NAME: 'shop', BRANCH_NAME: System.getenv('BRANCH_NAME')].findAll { it.value != null })
def result = 'SUCCESS', code = 0
try {
  def file = new File(args[0])
  def binding = new Binding()
  binding.setVariable('pipeline', { Closure c -> new Block(run: run).into(new Pipeline(), c).go() })
  def script = new GroovyShell(this.class.classLoader, binding).parse(file)
  if (file.name == 'Jenkinsfile') {
    script.run()
  } else {
    def steps = new Scripted(run: run)
    script.metaClass.methodMissing = { String name, a -> steps.invokeMethod(name, a) }
    script.metaClass.propertyMissing = { String name -> name == 'env' ? run.env : name == 'scm' ? 'scm' : name == 'currentBuild' ? run.build : { throw new Refused("there is no $name") }() }
    script.call([:])
  }
} catch (Failed e) { result = 'FAILURE'; code = 1; run.say e.message
} catch (Aborted e) { result = 'ABORTED'; code = 3; run.say e.message
} catch (Refused e) { result = 'REFUSED'; code = 2; run.say e.message }
run.say "junit: ${run.junit.join(' ')}"
run.say "agents: ${run.agents} ${run.labels.unique().join(' ')}"
println "Finished: $result"
System.exit(code)
