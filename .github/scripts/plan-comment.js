// Writes the plan of a pull request as a comment. The plan comes from a run of the pull request's own code: it is data, and
// nothing of it is run, interpolated into a command or trusted to say which pull request it belongs to.
'use strict';

const fs = require('fs');

const marker = '<!-- spire-falco plan -->';
const longest = 60000; // GitHub takes 65,536 characters
const largest = 4 * 1024 * 1024; // bytes of a file that is read at all

// fence is longer than any run of backticks in the text, so that the text cannot close it.
function fence(text) {
  const runs = text.match(/`+/g) || [];
  return '`'.repeat(Math.max(3, ...runs.map(r => r.length + 1)));
}

// readable escapes what cannot be seen: control characters, bidirectional controls and characters of no width.
function readable(text) {
  return text
    .replace(/\r\n/g, '\n')
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\u{e0000}-\u{e007f}]/gu,
      c => '\\u{' + c.codePointAt(0).toString(16) + '}');
}

// summary is the end of the plan, where the table of the stack is.
function summary(text) {
  const from = text.lastIndexOf('\nSTACK ');
  return from >= 0 ? text.slice(from, from + longest) : text.slice(-6000);
}

// body is the whole comment; a fence too long for GitHub is a plan that nobody needs to see.
function body(text) {
  const shown = readable(summary(text)).slice(0, longest);
  const f = fence(shown);
  if (2 * f.length + shown.length > longest + 4000) {
    return `${marker}\n### Plan of the stack\nThe plan cannot be shown here: see the artifact of the run.`;
  }
  return `${marker}\n### Plan of the stack\n${f}text\n${shown}\n${f}`;
}

// read takes a regular file of bounded size, not a link to one.
function read(path) {
  const stat = fs.lstatSync(path);
  if (!stat.isFile() || stat.size > largest) {
    throw new Error('the plan is not a regular file, or is too large');
  }
  return fs.readFileSync(path, 'utf8');
}

// pull finds the open pull request that the run was for, by what GitHub says of the run.
async function pull({ github, context }) {
  const run = context.payload.workflow_run;
  const { data } = await github.rest.pulls.list({
    ...context.repo, state: 'open', head: `${run.head_repository.owner.login}:${run.head_branch}`,
  });
  return data.find(p => p.head.sha === run.head_sha);
}

async function comment({ github, context, core }, path) {
  const found = await pull({ github, context });
  if (!found) {
    core.notice('no open pull request has this commit at its head');
    return;
  }
  if (!fs.existsSync(path)) {
    core.notice('the run left no plan');
    return;
  }
  const text = body(read(path));
  const issue = { ...context.repo, issue_number: found.number };
  const comments = await github.paginate(github.rest.issues.listComments, issue);
  const old = comments.find(c => c.user.login === 'github-actions[bot]' && c.body.startsWith(marker));
  if (old) {
    await github.rest.issues.updateComment({ ...context.repo, comment_id: old.id, body: text });
  } else {
    await github.rest.issues.createComment({ ...issue, body: text });
  }
}

module.exports = { comment, body, fence, read };
