// What a session waits for: operations in the order of their deadlines, the requests behind them,
// and answers that come when nobody waits any more.
#include "chat/session_impl.h"

namespace chat {

namespace {

void operation_unlink(session* s, operation* op) noexcept {
  (op->prev != nullptr ? op->prev->next : s->oldest) = op->next;
  (op->next != nullptr ? op->next->prev : s->newest) = op->prev;
  op->prev = op->next = nullptr;
}

void operation_free(operation* op) noexcept {
  if (op->extra != nullptr) op->free_extra(op->extra);
  delete op;
}

// The node has ended before the answer.
void on_request_forgotten(void* user) noexcept {
  auto* op = static_cast<operation*>(user);
  if (op->s != nullptr && !op->is_late) operation_unlink(op->s, op);
  operation_free(op);
}

// An answer has come back.
void on_request_done(node_loop* here, request* r) noexcept {
  auto* op = static_cast<operation*>(r->user);
  session* s = op->s;
  r->forget_user = nullptr;
  if (s != nullptr && !op->is_late) operation_unlink(s, op);
  if (s != nullptr && !op->is_late && s->state != session_state::ended) {
    op->done(s, op, r);
    session_end_if_due(s);
  } else {
    if (s != nullptr && op->is_late) subscription_forget_late(s, op);
    if (r->kind == request_kind::subscribe && r->code == error::ok) {
      // The owner has let in somebody who is gone, or was told that it failed: undo it.
      request* undo = request_new(here, request_kind::unsubscribe, r->channel, r->ns);
      undo->who = r->who;
      undo->has_presence = r->has_presence;
      undo->has_join_leave = r->has_join_leave;
      request_submit(undo);
    }
  }
  operation_free(op);
  request_free(r);
}

}  // namespace

operation* operation_new(session* s, uint32_t id,
                         void (*done)(session* s, operation* op, request* r) noexcept) noexcept {
  auto* op = new operation;
  op->s = s;
  op->id = id;
  op->due_ms = s->arrived_ms + kAnswerMs;
  op->done = done;
  op->prev = s->newest;
  while (op->prev != nullptr && op->prev->due_ms > op->due_ms) op->prev = op->prev->prev;
  op->next = op->prev != nullptr ? op->prev->next : s->oldest;
  (op->prev != nullptr ? op->prev->next : s->oldest) = op;
  (op->next != nullptr ? op->next->prev : s->newest) = op;
  if (op == s->oldest) session_arm(s);
  return op;
}

session* operation_end(operation* op) noexcept {
  session* s = op->s;
  if (s != nullptr) operation_unlink(s, op);
  operation_free(op);
  return s != nullptr && s->state != session_state::ended ? s : nullptr;
}

request* operation_request(session* s, uint32_t id, request_kind kind, std::string_view channel,
                           uint16_t ns,
                           void (*done)(session* s, operation* op, request* r) noexcept) noexcept {
  request* r = request_new(s->node, kind, channel, ns);
  r->user = operation_new(s, id, done);
  r->done = on_request_done;
  r->forget_user = on_request_forgotten;
  return r;
}

void operations_time_out(session* s, uint64_t now) noexcept {
  while (s->oldest != nullptr && s->oldest->due_ms <= now && s->state != session_state::ended) {
    operation* op = s->oldest;
    operation_unlink(s, op);
    op->s = nullptr;  // the late answer finds nobody, unless done() sets it again
    op->is_late = true;
    op->done(s, op, nullptr);
  }
}

void operations_detach(session* s) noexcept {
  for (operation* op = s->oldest; op != nullptr;) {
    operation* next = op->next;
    op->s = nullptr;
    op->prev = op->next = nullptr;
    op = next;
  }
  s->oldest = s->newest = nullptr;
}

}  // namespace chat
